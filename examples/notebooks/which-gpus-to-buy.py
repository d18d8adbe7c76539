"""Which GPUs to buy, as which-gpus-to-buy.ipynb asks it, for marimo: `marimo edit which-gpus-to-buy.py`, or run it with Python."""

import marimo

__generated_with = "0.25.2"
app = marimo.App()


@app.cell
def _():
    import marimo as mo

    return (mo,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    # Which GPUs to buy?

    Demand will be 1.5 times today's. We may buy one more node, rent other GPUs, or replace all of them. And the fleet
    should live through the loss of a node. This notebook ends with one table to decide by.

    which-gpus-to-buy.ipynb is the same for Jupyter. All plans are made without simulation, which takes
    seconds. Simulate the plan that you choose: `ullage.plan(fleet)`.
    """)


@app.cell
def _(mo):
    import ullage

    fleet = ullage.load(mo.notebook_dir() / "fleet.yaml")
    fleet
    return fleet, ullage


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The demand to buy for

    `set` gives a changed copy of the fleet. `x1.5` multiplies what stands there.
    """)


@app.cell
def _(fleet, ullage):
    later = fleet
    for workload in fleet.names("workloads"):
        later = later.set(f"workloads.{workload}.rate", "x1.5")
    today, then = ullage.plan(fleet, verify=False), ullage.plan(later, verify=False, explain=True)
    [today, then]
    return later, then


@app.cell
def _(then):
    then.plot()


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## One more GPU

    `explain=True` also asks what one more GPU would serve and cost, where a pool is full, and what the plan would cost if
    step times were at the ends of their band. Both stand in the last lines.
    """)


@app.cell
def _(then):
    then.explain()


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The options

    Each option is a scenario. `offer` adds nodes for rent, which are paid whole when they are used. `all_on` replaces every
    pool. GPUs that are owned cost their price per hour only while they are used, so an idle one costs nothing here: what you
    pay for a node that you buy is yours to add.
    """)


@app.cell
def _(later, ullage):
    options = {
        "one more H100 node": {"set": {"pools.h100.nodes": 3}},
        "one more L40S node": {"set": {"pools.l40s.nodes": 3}},
        "rent a node of 4 H200": {"offer": {"gpu": "H200", "gpus_per_node": 4, "nodes": 1}},
        "all on H100": {"all_on": {"gpu": "H100-SXM-80GB", "gpus_per_node": 4, "nodes": 4}},
        "all on H200": {"all_on": {"gpu": "H200", "gpus_per_node": 4, "nodes": 4}},
    }
    study = ullage.whatif(later, scenarios=[{"name": name, **kinds} for name, kinds in options.items()], time_limit_s=5)
    study
    return options, study


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## And when a node is lost?

    Kinds of scenarios can be combined. Here the first node with H100 dies in the fleet as declared, and with each option
    that keeps our GPUs. Where demand is unserved, the proof that no plan is better takes long: each plan stops after 5 s, and
    `gap` says how far it may be from the best.
    """)


@app.cell
def _(later, options, ullage):
    kept = {"as declared": {}, **{name: kinds for name, kinds in options.items() if "all_on" not in kinds}}
    losses = [{"name": f"{name}, h100-0 lost", **kinds, "node_lost": "h100-0"} for name, kinds in kept.items()]
    lost = ullage.whatif(later, scenarios=losses, time_limit_s=5)
    lost
    return (lost,)


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## What if prices change?

    The last column shows whether a price moves work to other GPUs: the cheaper H100 change only the cost, the dearer ones send
    work to the L40S.
    """)


@app.cell
def _(later, ullage):
    changes = {"H100 cheaper": {"h100": "x0.7"}, "H100 dearer": {"h100": "x1.5"}}
    prices = ullage.whatif(later, scenarios=[{"name": name, "price": change} for name, change in changes.items()])
    prices.to_frame()[["scenario", "cost_usd_per_h", "gpus_used", "gpus_by_type"]]


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The decision in one table

    The options by cost. `breaks at` is the growth beyond this demand that breaks the first goal; `short of` is what cannot be
    served any more when h100-0 is lost, after planning again, in requests/s. Options that replace all GPUs have no h100-0.
    """)


@app.cell
def _(lost, study):
    decision = study.to_frame().set_index("scenario")[["cost_usd_per_h", "gpus_used", "unserved_rps", "breaks_at_load_factor"]]
    after_loss = lost.to_frame()[1:].assign(scenario=lambda rows: rows["scenario"].str.removesuffix(", h100-0 lost"))
    decision["short of"] = after_loss.set_index("scenario")["unserved_rps"]
    decision = decision.rename(columns={"breaks_at_load_factor": "breaks at"}).sort_values("cost_usd_per_h")
    decision
    return (decision,)


@app.cell(hide_code=True)
def _(decision, mo):
    if mo.app_meta().mode == "script":
        print(decision.to_string())


@app.cell
def _(study):
    study.plot()


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## The plan of an option

    `best` names the cheapest of those that leave least unserved, and `plan` makes its plan again.
    """)


@app.cell
def _(study):
    chosen = study.plan(study.best("cost_usd_per_h").scenario)
    chosen


if __name__ == "__main__":
    app.run()
