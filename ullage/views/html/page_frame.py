"""The frame of a page to send around: its head and policy, contents, landmarks and sections."""

from __future__ import annotations

from collections.abc import Sequence

from ullage.views.html.markup import Markup, element, listed_items
from ullage.views.html.page_style import page_style
from ullage.views.html.stylesheet import stylesheet

# Nothing may be loaded or run, even if some text got through as markup.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

# Id, name and content.
PageSection = tuple[str, str, tuple[Markup, ...]]


def page_frame(
    *, title: str, head: str, lead: str, sections: Sequence[PageSection], target: tuple[str, str], foot: str, style: str = ""
) -> str:
    """A whole HTML5 document. target is the id of what is told, and the words of the link that skips to it."""
    place, skip = target
    top = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(stylesheet() + page_style() + style)),
    )
    contents = listed_items(element("a", name, href=f"#{at}") for at, name, _ in sections)
    body = element(
        "body",
        element("a", skip, href=f"#{place}", class_="skip"),
        element("header", element("h1", head), element("p", lead)),
        element("nav", contents, aria_label="Contents"),
        element("main", *(_section(at, name, parts) for at, name, parts in sections), id=place),
        element("footer", element("p", foot)),
        class_="ullage page",
    )
    return f"<!DOCTYPE html>\n{element('html', top, body, lang='en')}\n"


def _section(place: str, name: str, parts: tuple[Markup, ...]) -> Markup:
    return element("section", element("h2", name, id=place), *parts, aria_labelledby=place)
