"""From a Plan to files for the systems that run it, one folder per target.

How to add a target, say `nomad`:

1. Make the folder `renderers/nomad/` with its templates in `renderers/nomad/templates/*.j2`.
2. In its `__init__.py` write `render(plan: Plan, settings: TargetSettings) -> Manifest`. It is pure: it reads `plan.desired` only
   and touches no file, clock or network. `TARGET = RenderTarget(render, needs, settings)` beside it says what it needs of a plan
   (`renderers.needs`) and what users may set (`renderers.render_target`). Get a template with
   `renderers.templates.template("nomad", name)`; put every value that comes from the plan through the filter of the
   language it lands in: `scalar` (YAML and JSON), `sh` (shell words) or `comment` (comment lines). File names come from
   `renderers.names.file_name`.
3. Raise `renderers.manifest.RenderError` for a plan the target cannot express: what, where, and what to do.
4. Add one line to the table of renderers in `ullage/plugins.py`.
5. Add a golden file with `make golden`, and a test that shows the output to the target's own checker. A router says so
   (`RenderTarget.is_router`), takes its own answers from `renderers.openai_answers`, and joins `tests/renderers/routers`.
"""
