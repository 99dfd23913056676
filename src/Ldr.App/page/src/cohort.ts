/** A cohort's folder: its table, and each pair in the viewers a click away. */
import { api } from "./api";
import { fill, h } from "./html";
import { dataTable } from "./run";

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
      const id = cohort.columns.indexOf("id");
      const shown = ["id", "verdict", "outlier_score", "outlier_reason", "similarity_before", "similarity_after", "folded_percent", "dice", "milliseconds"];
      const columns = cohort.columns.map((name, i) => ({ name, i })).filter(({ name }) => shown.includes(name));
      const view = async (pair: string) => {
        const found = await api.pair(`${path}/${pair}`);
        if (!found.fixed || !found.moved) {
          fill(said, `${pair}: its ${found.fixed ? "moved" : "fixed"} scan is not in the folder that was given to --folder`);
          return;
        }
        await this.look(found.fixed, found.moving, found.moved);
      };
      const table = dataTable(
        columns.map(({ name }) => name),
        cohort.rows.map((row) => columns.map(({ i }) => row[i])),
        (text, column) =>
          column === "id" && id >= 0
            ? h("button", { type: "button", className: "link", onclick: () => void view(text).catch((error: Error) => fill(said, error.message)) }, text)
            : column === "verdict"
              ? h("span", { className: `badge ${text}` }, text)
              : text,
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
