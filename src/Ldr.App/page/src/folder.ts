/** A dialog that shows what lies below --folder. */
import { api, type FolderEntry } from "./api";
import { fill, h } from "./html";

export class FolderDialog {
  readonly element = h("dialog", { className: "folder" });
  private at = "";
  private pick: (entry: FolderEntry) => void = () => {};
  private readonly list = h("ul", {});
  private readonly where = h("nav", { className: "where" });

  constructor(private readonly rootName: string) {
    const close = h("button", { type: "button", className: "remove", title: "Close", onclick: () => this.element.close() }, "×");
    this.element.append(h("header", {}, this.where, close), this.list);
  }

  /** Lets the user choose; the dialog closes with the choice. */
  open(pick: (entry: FolderEntry) => void): void {
    this.pick = pick;
    this.element.showModal();
    void this.go(this.at);
  }

  private async go(path: string): Promise<void> {
    try {
      const listing = await api.folder(path);
      this.at = listing.path;
      this.trail();
      fill(this.list, ...listing.entries.map((entry) => this.line(entry)), listing.cut && h("li", {}, "… and more"), listing.entries.length === 0 && h("li", {}, "Nothing here that is read"));
    } catch (error) {
      fill(this.list, h("li", {}, (error as Error).message));
    }
  }

  private trail(): void {
    const parts = this.at === "" ? [] : this.at.split("/");
    const step = (name: string, path: string) => h("button", { type: "button", onclick: () => void this.go(path) }, name);
    fill(this.where, step(this.rootName, ""), ...parts.map((part, i) => step(part, parts.slice(0, i + 1).join("/"))));
  }

  private line(entry: FolderEntry): HTMLElement {
    const enter = () => void this.go(entry.path);
    const take = () => {
      this.element.close();
      this.pick(entry);
    };
    const opens = entry.kind === "run" || entry.kind === "cohort";
    return h(
      "li",
      {},
      h("button", { type: "button", className: "open", onclick: entry.kind === "folder" ? enter : take }, h("span", { className: `kind ${entry.kind}` }, entry.kind), entry.name),
      opens && h("button", { type: "button", onclick: enter }, "Inside"),
    );
  }
}
