#!/usr/bin/env python3
"""Builds the docs site out of the repository's own pages, and checks every link in it.

The pages stay where they are, with links that also work in the repository. What differs on the site:
- a link to a file that is no page (a manifest, a script) leads to a page that shows that file;
- the words after the language of a code block, which are for the tests, are left out.

usage: build.py BUILD_DIRECTORY MDBOOK...
"""

import html.parser
import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^\s*(```|~~~)")
LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".sh": "sh", ".java": "java", ".lua": "lua", ".rs": "rust"}


def fail(problems):
    for problem in problems:
        print(f"docs-site: {problem}", file=sys.stderr)
    sys.exit(1)


def outside_of_code(text, change_line, change_fence):
    """Changes the lines outside of code blocks, and the first line of each code block."""
    lines, inside = [], False
    for line in text.split("\n"):
        if FENCE.match(line):
            inside = not inside
            lines.append(change_fence(line) if inside else line)
        else:
            lines.append(line if inside else change_line(line))
    return "\n".join(lines)


class Pages:
    def __init__(self, into):
        self.into = into
        self.files = set()  # what is linked and is no page: shown on a page of its own
        self.problems = []
        self.listed = []  # the pages of the summary, as paths from the repository's root

    def address(self, target):
        """Where a path of the repository is on the site, as the path of a Markdown file."""
        path = ROOT / target
        if target.endswith(".md"):
            folder, name = posixpath.split(target)
            return posixpath.join(folder, "index.md") if name == "README.md" else target
        if target.endswith((".svg", ".png")):
            return target
        self.files.add(target)
        return posixpath.join(target, "index.md") if path.is_dir() else target + ".md"

    def rewrite(self, page, text):
        def link(match):
            target, fragment = urldefrag(match[2])
            if not target or re.match(r"[a-z]+:", target):
                return match[0]
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
            if not (ROOT / path).exists():
                self.problems.append(f"{page}: {match[2]} does not exist in the repository")
                return match[0]
            if path.endswith(".md") and path not in self.listed:
                self.problems.append(f"{page}: {path} is on no line of site/SUMMARY.md")
            there = posixpath.relpath(self.address(path), posixpath.dirname(self.address(page)) or ".")
            return match[1] + there + (f"#{fragment}" if fragment else "") + match[3]

        language = lambda line: re.sub(r"^(\s*```[\w-]*).*$", r"\1", line)
        return outside_of_code(text, lambda line: LINK.sub(link, line), language)

    def write(self, path, text):
        file = self.into / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def shown(self, target):
        """A page that shows a file, or all files of a folder."""
        path = ROOT / target
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        parts = [f"# {target}"]
        for file in files:
            name = file.relative_to(path) if path.is_dir() else None
            if file.suffix == ".md":
                continue
            if name:
                parts.append(f"## {name}")
            parts.append(f"````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text().rstrip()}\n````")
        return "\n\n".join(parts) + "\n"

    def stage(self):
        summary = (HERE / "SUMMARY.md").read_text()
        self.listed = [posixpath.normpath(posixpath.join("site", path)) for path in re.findall(r"\]\((\S+?\.md)\)", summary)]
        known = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "docs/*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
        for page in known.stdout.split():
            if page not in self.listed:
                self.problems.append(f"{page} is on no line of site/SUMMARY.md")
        for page in self.listed:
            self.write(self.address(page), self.rewrite(page, (ROOT / page).read_text()))
        for picture in [*(ROOT / "docs").rglob("*.svg"), *(ROOT / "docs").rglob("*.png")]:
            target = self.into / picture.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)
        lines = [f"  - [{target}]({self.address(target)})" for target in sorted(self.files)]
        for target in sorted(self.files):
            self.write(self.address(target), self.shown(target))
        self.write("files.md", "# Files\n\nThe files of the repository that the pages name:\n\n" + "\n".join(line[2:] for line in lines) + "\n")
        place = lambda match: match[1] + self.address(posixpath.normpath(posixpath.join("site", match[2]))) + match[3]
        self.write("SUMMARY.md", LINK.sub(place, summary).rstrip() + "\n- [Files](files.md)\n" + "\n".join(lines) + "\n")


class Html(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if attributes.get("id"):
            self.ids.add(attributes["id"])
        for name in ("href", "src"):
            if attributes.get(name) and tag != "base":
                self.links.append(attributes[name])


def check(site):
    """Every link within the site leads to a file, and to an anchor in it."""
    parsed = {file: Html(file.read_text()) for file in site.rglob("*.html") if file.name not in ("404.html", "toc.html")}
    problems, count = [], 0
    for file, page in parsed.items():
        for link in page.links:
            target, fragment = urldefrag(link)
            if re.match(r"[a-z]+:|//", link):
                continue
            count += 1
            there = Path(os.path.normpath(file.parent / unquote(target))) if target else file
            if there.is_dir():
                there /= "index.html"
            if not there.is_file():
                problems.append(f"{file.relative_to(site)}: {link} leads nowhere")
            elif fragment and there in parsed and unquote(fragment) not in parsed[there].ids:
                problems.append(f"{file.relative_to(site)}: {link}: no such anchor")
    if count < 500:
        problems.append(f"only {count} links: the check does not see them")
    return len(parsed), count, problems


def main():
    build, mdbook = Path(sys.argv[1]).resolve(), sys.argv[2:]
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    pages = Pages(build / "pages")
    pages.stage()
    if pages.problems:
        fail(pages.problems)
    for file in ("book.toml", "site.css"):
        shutil.copyfile(HERE / file, build / file)
    subprocess.run([*mdbook, "build", str(build)], check=True)
    number, links, problems = check(build / "html")
    if problems:
        fail(problems)
    print(f"docs-site: {number} pages and {links} links in {build}/html")


if __name__ == "__main__":
    main()
