#!/usr/bin/env python3
"""Renders what the examples measured as one self-contained page: make_report.py REPORT_DIR -> REPORT_DIR/index.html.

Reads REPORT_DIR/<namespace>/summary.json and REPORT_DIR/<namespace>/<example>/summary.json (the format is docs/report.md)
and, where they are, the peer measurements REPORT_DIR/bench/<namespace>.json. Only Python's standard library; pictures go into the page, so that it can be sent around.
"""
import base64
import html
import json
import pathlib
import platform
import sys
import time

STYLE = pathlib.Path(__file__).with_name("report.css")
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


class ReportError(Exception):
    """A summary that cannot be shown; the message names the file and what is wrong with it."""


def escape(text):
    return html.escape(str(text))


def show_number(value):
    """Numbers as people read them: 16384 -> 16,384; 0.0133172 -> 0.01332; text stays."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def data_uri(path):
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        raise ReportError(f"{path}: a picture must be one of {', '.join(sorted(MEDIA_TYPES))}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def picture(folder, entry):
    dark = ""
    if "file_dark" in entry:
        dark = f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(folder / entry["file_dark"])}">'
    caption = escape(entry.get("caption", ""))
    return (f'<figure><picture>{dark}<img src="{data_uri(folder / entry["file"])}" alt="{caption}"></picture>'
            f"<figcaption>{caption}</figcaption></figure>")


def table(head, rows, numeric, kind="plain"):
    """rows of already escaped cells; `numeric` holds the columns that are aligned to the right."""
    def cell(tag, column, content):
        return f'<{tag}{" class=number" if column in numeric else ""}>{content}</{tag}>'
    lines = ["<tr>" + "".join(cell("th", i, c) for i, c in enumerate(head)) + "</tr>"]
    lines += ["<tr>" + "".join(cell("td", i, c) for i, c in enumerate(row)) + "</tr>" for row in rows]
    return '<div class="scroll"><table class=' + kind + '>' + "\n".join(lines) + "</table></div>"


def measured_table(rows):
    cells = [(escape(r["name"]), f'<b>{escape(show_number(r["value"]))}</b> {escape(r.get("unit", ""))}',
              escape(r.get("note", ""))) for r in rows]
    return table(("measured", "value", ""), cells, {1}, "measured")


def peers_table(path):
    content = json.loads(path.read_text())
    rows = content["rows"] if isinstance(content, dict) else content
    cells = [(escape(r["case"]), escape(r["peer"]), escape(show_number(r["threads"])),
              f'{1e3 * r["ours_s"]:.3g} ms', f'{1e3 * r["peer_s"]:.3g} ms', f'<b>{r["ratio"]:.1f} x</b>',
              escape(show_number(r["same_result"]))) for r in rows]
    return table(("case", "instead of", "threads", "researchkit", "peer", "faster", "same result"), cells, {2, 3, 4, 5})


def section(report_dir, folder):
    name = folder.relative_to(report_dir).as_posix()
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text())
        paper = summary["paper"]
        if isinstance(paper, dict):
            paper = f'<a href="{escape(paper["url"])}">{escape(paper["title"])}</a>'
        else:
            paper = escape(paper)
        parts = [f'<section id="{escape(name)}">',
                 f'<p class="namespace">{escape(name)}</p><h2>{escape(summary["title"])}</h2>',
                 f'<p class="paper">{paper}</p>',
                 '<div class="claims">',
                 f'<div><h3>The paper</h3><p>{escape(summary["headline"])}</p></div>']
        if "measured" in summary:
            parts.append(f'<div class="ours"><h3>Just measured here</h3><p>{escape(summary["measured"])}</p></div>')
        parts.append("</div>")
        pictures = [picture(folder, entry) for entry in summary.get("pictures", [])]
        if pictures:
            parts.append('<div class="pictures">' + "\n".join(pictures) + "</div>")
        if summary.get("rows"):
            parts.append(measured_table(summary["rows"]))
        peers = folder.parent / "bench" / f"{folder.name}.json"
        if peers.is_file():
            parts.append("<h3>Beside what one would use instead</h3>" + peers_table(peers))
        if summary.get("commands"):
            commands = "\n".join(escape(c) for c in summary["commands"])
            parts.append(f"<h3>The commands</h3><pre>{commands}</pre>")
        parts.append("</section>")
        return "\n".join(parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{file}: {type(error).__name__}: {error} (the format is docs/report.md)") from error


def machine():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def page(report_dir):
    folders = sorted(path.parent for pattern in ("*", "*/*") for path in report_dir.glob(f"{pattern}/summary.json"))
    if not folders:
        raise ReportError(f"{report_dir}: no <namespace>/summary.json in it; an example writes one")
    sections = "\n".join(section(report_dir, folder) for folder in folders)
    names = [folder.relative_to(report_dir).as_posix() for folder in folders]
    links = " ".join(f'<a href="#{escape(f)}">{escape(f)}</a>' for f in names) if len(folders) > 1 else ""
    when = time.strftime("%Y-%m-%d %H:%M")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>researchkit: what was just measured</title>
<style>
{STYLE.read_text()}</style>
</head>
<body>
<header><h1>researchkit</h1>
<p>What the examples just computed on this machine: {escape(machine())}, {when}</p>
<nav>{links}</nav></header>
<main>
{sections}
</main>
</body>
</html>
"""


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_report.py REPORT_DIR")
    report_dir = pathlib.Path(sys.argv[1])
    try:
        content = page(report_dir)
    except ReportError as error:
        sys.exit(f"make_report.py: {error}")
    out = report_dir / "index.html"
    out.write_text(content)
    print(f"Wrote {out}")


if __name__ == "__main__":
    main()
