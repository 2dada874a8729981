"""docs/asyncapi.yaml as AsyncAPI's own page: `python -m tools.page.asyncapi PACKAGE PAGE`.

PACKAGE is what `npm pack @asyncapi/react-component` leaves. The page is one file and needs no network. It is large, so
it is built by those who want it, and never committed.
"""

import sys
import tarfile
from pathlib import Path

from tools.codegen import ROOT
from tools.page.markup import Html, element

DOCUMENT = Path("docs/asyncapi.yaml")
_SCRIPT, _STYLE = "package/browser/standalone/index.js", "package/styles/default.min.css"
# The component compiles JSON Schemas to functions, and sets styles; nothing is allowed to come from elsewhere.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
# The element "asyncapi" has the document as a text: whatever stands in it, it is neither markup nor program.
_START = """\
const document_ = document.getElementById("asyncapi").content.textContent;
AsyncApiStandalone.render({ schema: document_, config: { show: { errors: false } } }, document.getElementById("page"));
"""


def page(script: str, style: str, document: str) -> str:
    """The page of an AsyncAPI document, with the script and the style of the component in it."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", "The events of ordersys"),
        element("style", Html(style.replace("</style", "<\\/style"))),
    )
    body = element(
        "body",
        element("div", id="page"),
        element("template", document, id="asyncapi"),
        _program(script),
        _program(_START),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _program(script: str) -> Html:
    """A script, which ends where it ends: in a text of JavaScript `<\\/` is `</`."""
    return element("script", Html(script.replace("</script", "<\\/script")))


def read(package: Path) -> tuple[str, str]:
    """The script and the style in an archive of the component. Raises SystemExit where it has none."""
    with tarfile.open(package) as archive:
        try:
            texts = [archive.extractfile(name) for name in (_SCRIPT, _STYLE)]
        except KeyError as missing:
            raise SystemExit(f"{package.name}: {missing.args[0]}") from None
        script, style = (text.read().decode() if text else "" for text in texts)
    return script, style


def main() -> None:
    """Writes the page."""
    package, target = map(Path, sys.argv[1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(*read(package), (ROOT / DOCUMENT).read_text(encoding="utf-8")), encoding="utf-8")
    print(f"asyncapi_page: {target}, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
