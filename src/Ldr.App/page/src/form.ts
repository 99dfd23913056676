/** The two scans, what may go with them, and register's options. */
import { api, type About, type JobRequest, type StoredFile } from "./api";
import { fill, h } from "./html";
import { oneFile, scansAmong } from "./parts";

type Role = "fixed" | "moving" | "labels" | "fixed_labels" | "fixed_mask" | "moving_mask" | "points" | "init";

const SLOTS: { role: Role; title: string; hint: string }[] = [
  { role: "fixed", title: "Fixed scan", hint: "drop or choose the one that stays" },
  { role: "moving", title: "Moving scan", hint: "drop or choose the one that is moved" },
  { role: "labels", title: "Labels of the moving scan", hint: "moved along, drawn as outlines" },
  { role: "fixed_labels", title: "Labels of the fixed scan", hint: "drawn dashed, to compare" },
  { role: "fixed_mask", title: "Mask of the fixed scan", hint: "where it counts" },
  { role: "moving_mask", title: "Mask of the moving scan", hint: "where it counts" },
  { role: "points", title: "Points on the fixed scan", hint: "CSV, .fcsv, .mrk.json" },
  { role: "init", title: "Transform to start from", hint: "affine map or field" },
];

/** One place for a file: drop it, choose it, or take it from the folder. */
class Slot {
  readonly element: HTMLElement;
  file: StoredFile | null = null;
  private readonly input = h("input", { type: "file", multiple: true });
  private readonly name = h("span", { className: "name" });
  private readonly remove = h("button", { type: "button", className: "remove", title: "Take it away" }, "×");
  private asked = 0;

  constructor(
    role: Role,
    private readonly title: string,
    private readonly hint: string,
    private readonly changed: () => void,
    browse: ((slot: Slot) => void) | null,
  ) {
    this.input.id = `file-${role}`;
    this.input.onchange = () => {
      if (this.input.files?.length) void this.take([...this.input.files]);
      this.input.value = "";
    };
    this.remove.onclick = () => this.set(null);
    const label = h("label", { htmlFor: this.input.id }, h("b", {}, title), this.name);
    this.element = h(
      "div",
      { className: "slot", attributes: { "data-role": role } },
      this.input,
      label,
      this.remove,
      browse && h("button", { type: "button", className: "browse", title: `${title}: from the folder`, onclick: () => browse(this) }, "Folder"),
    );
    this.dropAt(this.element);
    this.tell();
  }

  /** Makes an element a place to drop its files at. */
  dropAt(element: HTMLElement): void {
    element.ondragover = (event) => {
      event.preventDefault();
      this.element.classList.add("over");
    };
    element.ondragleave = () => this.element.classList.remove("over");
    element.ondrop = (event) => {
      const files = [...(event.dataTransfer?.files ?? [])];
      this.element.classList.remove("over");
      // Several that are no parts of one scan are a pair: the form deals them out.
      if (element !== this.element && files.length > 1) return;
      event.preventDefault();
      event.stopPropagation();
      if (files.length > 0) void this.take(files);
    };
  }

  /** Lets the user choose a file by a click on an element, as long as there is none. */
  chooseAt(element: HTMLElement): void {
    element.addEventListener("click", () => {
      if (!this.file) this.input.click();
    });
  }

  /** Sends the files of one scan to the server, as one; a refusal is told in its place. */
  async take(files: File[]): Promise<void> {
    await this.hold(files[0].name, oneFile(files).then((file) => api.upload(file)));
  }

  async hold(name: string, coming: Promise<StoredFile>): Promise<void> {
    const mine = ++this.asked;
    this.element.classList.add("busy");
    fill(this.name, `${name} …`);
    try {
      const file = await coming;
      if (mine === this.asked) this.set(file);
    } catch (error) {
      if (mine !== this.asked) return;
      this.set(null);
      fill(this.name, (error as Error).message);
      this.element.classList.add("wrong");
      this.element.setAttribute("role", "alert");
    } finally {
      if (mine === this.asked) this.element.classList.remove("busy");
    }
  }

  set(file: StoredFile | null): void {
    this.asked++;
    this.file = file;
    this.element.classList.remove("wrong", "busy");
    this.element.removeAttribute("role");
    this.tell();
    this.changed();
  }

  private tell(): void {
    this.remove.hidden = !this.file;
    this.element.classList.toggle("filled", !!this.file);
    fill(this.name, this.file ? this.file.name : this.hint);
    this.name.title = this.file?.grid ?? "";
    this.input.setAttribute("aria-label", this.file ? `${this.title}: ${this.file.name}` : this.title);
  }
}

export type { Slot };

export class Form {
  readonly element: HTMLFormElement;
  readonly button = h("button", { type: "submit", className: "main", disabled: true }, "Register");
  private readonly slots = new Map<Role, Slot>();
  private readonly model = h("select", { id: "model" });
  private readonly affine = h("select", { id: "affine" });
  private readonly numbers = new Map<string, HTMLInputElement>();
  private readonly diffeomorphic = h("input", { type: "checkbox", id: "diffeomorphic" });
  private readonly problem = h("p", { className: "problem", hidden: true, attributes: { role: "alert" } });

  constructor(
    about: About,
    private readonly chosen: (role: "fixed" | "moving", file: StoredFile | null, volume: number) => void,
    private readonly submit: (request: JobRequest) => Promise<void>,
    browse: ((slot: Slot) => void) | null,
  ) {
    for (const { role, title, hint } of SLOTS) this.slots.set(role, new Slot(role, title, hint, () => this.changed(role), browse));
    const models: [string, string][] = [
      ["auto", "the first that fits, else none"],
      ["none", "none: optimise the pair itself"],
      ...about.models.map((m): [string, string] => [m.name, `${m.name} (${m.trained})`]),
    ];
    fill(this.model, ...models.map(([value, text]) => h("option", { value }, text)));
    const starts = [
      ["", "as the model was trained"],
      ["auto", "optimised, kept where it helps"],
      ["none", "world positions"],
      ["centres", "centre on centre"],
      ["rigid", "rigid, optimised"],
      ["full", "affine, optimised"],
    ];
    fill(this.affine, ...starts.map(([value, text]) => h("option", { value }, text)));
    const more = SLOTS.slice(2).map(({ role }) => this.slots.get(role)!.element);
    this.element = h(
      "form",
      { className: "form", attributes: { "aria-label": "Pair" } },
      this.slots.get("fixed")!.element,
      this.slots.get("moving")!.element,
      this.button,
      this.problem,
      h("details", { className: "options" }, h("summary", {}, "Labels, masks, points"), ...more),
      h("details", { className: "options" }, h("summary", {}, "Options"), ...this.options()),
    );
    this.element.onsubmit = (event) => {
      event.preventDefault();
      void this.send();
    };
  }

  /** Files dropped beside the slots: the first free ones take them. */
  async drop(files: File[]): Promise<void> {
    const order: Role[] = ["fixed", "moving", "labels", "fixed_labels"];
    const taken: Role[] = [];
    const scans = await scansAmong(files);
    await Promise.all(
      scans.slice(0, 2).map((parts) => {
        const role = order.find((r) => !this.slots.get(r)!.file && !taken.includes(r)) ?? "moving";
        taken.push(role);
        return this.slots.get(role)!.take(parts);
      }),
    );
  }

  /** Makes an element a place to drop a scan at, or to choose it as long as there is none. */
  dropAt(role: Role, element: HTMLElement): void {
    this.slots.get(role)!.dropAt(element);
    this.slots.get(role)!.chooseAt(element);
  }

  get volume(): number {
    return Number(this.numbers.get("volume")?.value || 0);
  }

  private options(): HTMLElement[] {
    const row = (id: string, title: string, control: HTMLElement) => h("div", { className: "row" }, h("label", { htmlFor: id }, title), control);
    const number = (id: string, title: string, min: string, step: string, hint: string) => {
      const input = h("input", { type: "number", id, min, step, placeholder: hint });
      this.numbers.set(id, input);
      return row(id, title, input);
    };
    const volume = number("volume", "Volume of files that hold several", "0", "1", "first");
    this.numbers.get("volume")!.onchange = () => this.changed("fixed");
    return [
      row("model", "Model", this.model),
      row("affine", "Start", this.affine),
      number("refine", "Refinement, steps a level", "0", "1", "none with a model"),
      number("budget", "Refinement, seconds", "0.1", "any", "no bound"),
      number("control_spacing", "Control points, mm", "0.1", "any", "automatic"),
      number("log_jacobian", "Penalty on volume changes", "0", "any", "0"),
      h("div", { className: "row" }, h("label", { htmlFor: "diffeomorphic" }, "No folds (diffeomorphic)"), this.diffeomorphic),
      number("least", "Volume factor, least", "0.01", "any", "no bound"),
      number("most", "Volume factor, largest", "1", "any", "no bound"),
      volume,
    ];
  }

  private changed(role: Role): void {
    this.button.disabled = !this.slots.get("fixed")?.file || !this.slots.get("moving")?.file;
    if (role === "fixed" || role === "moving") this.chosen(role, this.slots.get(role)!.file, this.volume);
  }

  private request(): JobRequest {
    const id = (role: Role) => this.slots.get(role)!.file?.id;
    const value = (name: string) => {
      const text = this.numbers.get(name)!.value;
      return text === "" ? undefined : Number(text);
    };
    const [least, most] = [value("least"), value("most")];
    const several = [...this.slots.values()].some((slot) => (slot.file?.volumes ?? 1) > 1);
    return {
      fixed: id("fixed")!,
      moving: id("moving")!,
      labels: id("labels"),
      fixed_labels: id("fixed_labels"),
      fixed_mask: id("fixed_mask"),
      moving_mask: id("moving_mask"),
      points: id("points"),
      init: id("init"),
      model: this.model.value,
      affine: this.affine.value || undefined,
      refine: value("refine"),
      budget: value("budget"),
      control_spacing: value("control_spacing"),
      log_jacobian: value("log_jacobian"),
      diffeomorphic: this.diffeomorphic.checked,
      jacobian_bounds: this.diffeomorphic.checked && least !== undefined && most !== undefined ? [least, most] : undefined,
      volume: several ? this.volume : undefined,
    };
  }

  private async send(): Promise<void> {
    if (this.button.disabled) return;
    this.problem.hidden = true;
    try {
      await this.submit(this.request());
    } catch (error) {
      this.problem.hidden = false;
      this.problem.textContent = (error as Error).message;
    }
  }
}
