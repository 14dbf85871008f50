"""Write the dashboards' JSON: `python -m deploy.grafana`."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana.boards import BOARDS

FOLDER = Path(__file__).parent / "dashboards"

if __name__ == "__main__":
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(board.json())
