"""Writes docs/terraform-reference.md from what the provider says of itself.

terraform_docs.py SCHEMA.json [--check]   SCHEMA.json: the output of `terraform providers schema -json`"""
import json
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs/terraform-reference.md"
HEAD = """# The Terraform provider: reference

Made by `deploy/tools/terraform_docs.py` from the provider's schema; `make test-terraform` fails where they differ. How to use it: [terraform.md](terraform.md).
"""


def type_of(form):
    return form if isinstance(form, str) else f"{form[0]} of {form[1]}"


def marks(attribute):
    marked = [word for word, flag in (("required", "required"), ("optional", "optional"), ("told", "computed"), ("write-only", "write_only"),
                                      ("sensitive", "sensitive")) if attribute.get(flag)]
    return ", ".join(marked)


def table(schema):
    lines = ["| attribute | type | | meaning |", "|---|---|---|---|"]
    order = lambda item: (not item[1].get("required"), not item[1].get("optional"), item[0])  # noqa: E731
    for name, attribute in sorted(schema["block"]["attributes"].items(), key=order):
        meaning = attribute.get("description", "").replace("|", "\\|")
        lines.append(f"| `{name}` | {type_of(attribute['type'])} | {marks(attribute)} | {meaning} |")
    return lines


def section(title, schema):
    return [f"### {title}", "", schema["block"].get("description", ""), "", *table(schema), ""]


def page(schemas):
    """The page, from what `terraform providers schema -json` prints."""
    ours = next(schema for name, schema in schemas["provider_schemas"].items() if name.endswith("/balefire/balefire"))
    lines = [HEAD, "## Provider", "", ours["provider"]["block"].get("description", ""), "", *table(ours["provider"]), ""]
    for title, key in (("Resources", "resource_schemas"), ("Data sources", "data_source_schemas")):
        lines += [f"## {title}", ""]
        for name, schema in sorted(ours[key].items()):
            lines += section(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def main():
    made = page(json.loads(Path(sys.argv[1]).read_text()))
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text() != made:
            print(f"{PAGE} is not what the provider says of itself; make it anew with deploy/tools/terraform_docs.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
