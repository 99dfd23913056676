/** A run's folder: curves that grow while it trains, the table, pictures of pairs. */
import { api } from "./api";
import { digits, fill, h } from "./html";

type Series = Map<string, { step: number; value: number }[]>;

/** Milliseconds between two looks at the run's metrics. */
const LOOK = 2000;

const COLOURS = ["#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#14b8a6", "#eab308", "#ec4899"];

export class RunView {
  readonly element = h("section", { className: "page run", attributes: { "aria-label": "Run" } });
  private readonly charts = h("div", { className: "charts" });
  private readonly table = h("div", {});
  private readonly picture = h("div", {});
  private readonly state = h("p", { className: "remark" });
  private readonly kinds = new Map<string, Series>();
  private offset = 0;
  private rest = "";
  private path = "";
  private timer = 0;

  constructor(private readonly close: () => void) {}

  async open(path: string): Promise<void> {
    this.stop();
    this.path = path;
    this.offset = 0;
    this.rest = "";
    this.kinds.clear();
    fill(this.charts);
    const title = h("h1", {}, path);
    fill(
      this.element,
      h("header", {}, title, h("button", { type: "button", onclick: () => this.leave() }, "Back")),
      this.state,
      this.charts,
      this.table,
      this.picture,
    );
    await this.look();
    this.timer = window.setInterval(() => void this.look(), LOOK);
  }

  private leave(): void {
    this.stop();
    this.close();
  }

  private stop(): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    try {
      const run = await api.run(this.path);
      fill(this.table, !!run.table && markdownTable(run.table));
      if (run.has_picture && !this.picture.firstChild) {
        this.picture.append(h("img", { src: api.picture(this.path), alt: "Pairs: fixed, moving, moved, deformation" }));
      }
      const bytes = await api.metrics(this.path, this.offset);
      this.offset += bytes.length;
      this.read(new TextDecoder().decode(bytes));
      const steps = run.trainings.map((t) => `${t.name} (${t.steps} steps)`).join(", ");
      fill(this.state, `${run.name}: ${steps}. ${run.table ? "Finished." : "It is looked at every two seconds."}`);
      if (run.table) this.stop();
    } catch (error) {
      fill(this.state, (error as Error).message);
      this.stop();
    }
  }

  private read(text: string): void {
    if (text === "" && this.charts.firstChild) return;
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    for (const line of lines) this.add(line);
    const wanted: [kind: string, key: string, title: string][] = [
      ["train", "loss", "Loss"],
      ["validation", "dice", "Validation: Dice"],
      ["train", "similarity", "Similarity term"],
    ];
    fill(this.charts, ...wanted.filter(([kind, key]) => this.kinds.has(`${kind} ${key}`)).map(([kind, key, title]) => chart(title, this.kinds.get(`${kind} ${key}`)!)));
  }

  private add(line: string): void {
    let entry: Record<string, unknown>;
    try {
      entry = JSON.parse(line);
    } catch {
      return;
    }
    for (const [key, value] of Object.entries(entry)) {
      if (typeof value !== "number" || key === "step") continue;
      const name = `${entry.kind} ${key}`;
      const series: Series = this.kinds.get(name) ?? new Map();
      this.kinds.set(name, series);
      const training = String(entry.training);
      series.set(training, [...(series.get(training) ?? []), { step: Number(entry.step), value }]);
    }
  }
}

/** One chart with a line for each training. */
function chart(title: string, series: Series): HTMLElement {
  const canvas = h("canvas", { width: 960, height: 420 });
  const points = [...series.values()].flat();
  const low = Math.min(...points.map((p) => p.value));
  const high = Math.max(...points.map((p) => p.value));
  const last = Math.max(...points.map((p) => p.step), 1);
  const context = canvas.getContext("2d")!;
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--quiet");
  const x = (step: number) => 110 + (830 * step) / last;
  const y = (value: number) => 380 - (350 * (value - low)) / (high - low || 1);
  context.font = "22px system-ui";
  context.fillStyle = ink;
  context.strokeStyle = ink;
  context.textAlign = "right";
  for (const value of [low, (low + high) / 2, high]) {
    context.fillText(digits(value, 3), 100, y(value) + 8);
    context.globalAlpha = 0.25;
    context.beginPath();
    context.moveTo(110, y(value));
    context.lineTo(940, y(value));
    context.stroke();
    context.globalAlpha = 1;
  }
  context.fillText(`step ${last}`, 940, 412);
  context.lineWidth = 3;
  [...series.values()].forEach((line, i) => {
    context.strokeStyle = COLOURS[i % COLOURS.length];
    context.beginPath();
    for (const p of line) context.lineTo(x(p.step), y(p.value));
    context.stroke();
    if (line.length === 1) context.strokeRect(x(line[0].step) - 3, y(line[0].value) - 3, 6, 6);
  });
  const names = [...series.entries()].map(([name, line], i) => {
    const item = h("li", {}, `${name}: ${digits(line[line.length - 1].value, 3)}`);
    item.style.color = COLOURS[i % COLOURS.length];
    return item;
  });
  return h("figure", { className: "chart" }, h("figcaption", {}, title), canvas, h("ul", {}, ...names));
}

/** The first table of a Markdown text. */
function markdownTable(text: string): HTMLElement | null {
  const rows = text
    .split("\n")
    .filter((line) => line.trim().startsWith("|"))
    .map((line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|")));
  if (rows.length < 2) return null;
  return dataTable(rows[0], rows.slice(2));
}

/** A table; `row` makes a row of cells. */
export function dataTable(head: string[], rows: string[][], decorate?: (cell: string, column: string, row: string[]) => Node | string): HTMLElement {
  const cell = (text: string, i: number, row: string[]) => h("td", {}, decorate?.(text, head[i], row) ?? text);
  return h(
    "div",
    { className: "scroll" },
    h("table", {}, h("thead", {}, h("tr", {}, ...head.map((name) => h("th", {}, name)))), h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((text, i) => cell(text, i, row)))))),
  );
}
