"""`python -m tests.contract.laws`: brings the table of laws in docs/conformance.md up to date."""

from tests.contract.harness.law_index import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
