/** A cohort's folder: its table, and each pair in the viewers a click away. */
import { api } from "./api";
import { digits, fill, h } from "./html";
import { dataTable } from "./run";

/** Columns that are shown: key, title, decimals of numbers. */
const COLUMNS: [key: string, title: string, places?: number][] = [
  ["id", "Pair"],
  ["verdict", "Verdict"],
  ["outlier_score", "Outlier score", 1],
  ["similarity_before", "Similarity before", 3],
  ["similarity_after", "after", 3],
  ["folded_percent", "Folded, %", 2],
  ["dice_before", "Dice before", 3],
  ["dice", "after", 3],
  ["outlier_reason", "Why it stands out"],
];

export class CohortView {
  readonly element = h("section", { className: "page cohort", attributes: { "aria-label": "Cohort" } });

  constructor(
    private readonly close: () => void,
    /** Shows a pair: files of the folder. */
    private readonly look: (fixed: string, moving: string | undefined, moved: string) => Promise<void>,
  ) {}

  async open(path: string): Promise<void> {
    const said = h("p", { className: "remark", attributes: { role: "status" } });
    try {
      const cohort = await api.cohort(path);
      const known = (i: number) => cohort.rows.some((row) => !["", "n/a"].includes(row[i]));
      const columns = COLUMNS.map(([key, title, places]) => ({ key, title, places, i: cohort.columns.indexOf(key) })).filter(({ i }) => i >= 0 && known(i));
      const text = (value: string, places?: number) => (["", "n/a"].includes(value) ? "" : places === undefined ? value : digits(Number(value), places));
      const view = async (pair: string) => {
        const found = await api.pair(`${path}/${pair}`);
        if (!found.fixed || !found.moved) {
          fill(said, `${pair}: its ${found.fixed ? "moved" : "fixed"} scan is not in the folder that was given to --folder`);
          return;
        }
        await this.look(found.fixed, found.moving, found.moved);
      };
      const table = dataTable(
        columns.map(({ title }) => title),
        cohort.rows.map((row) => columns.map(({ i, places }) => text(row[i], places))),
        (cell, column) =>
          column === "Pair"
            ? h("button", { type: "button", className: "link", onclick: () => void view(cell).catch((error: Error) => fill(said, error.message)) }, cell)
            : column === "Verdict"
              ? h("span", { className: `badge ${cell}` }, cell)
              : cell,
      );
      fill(
        this.element,
        h("header", {}, h("h1", {}, path), cohort.has_page && h("a", { href: api.groupPage(path), target: "_blank", rel: "noopener" }, "Group page"), h("button", { type: "button", onclick: this.close }, "Back")),
        h("p", { className: "remark" }, `${cohort.rows.length} pairs. Choose one to look at it.`),
        said,
        table,
      );
    } catch (error) {
      fill(this.element, h("header", {}, h("h1", {}, path), h("button", { type: "button", onclick: this.close }, "Back")), h("p", {}, (error as Error).message));
    }
  }
}
