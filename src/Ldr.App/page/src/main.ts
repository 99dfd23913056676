/** The page: what belongs to what. */
import { api, type About, type Job, type JobRequest, type StoredFile } from "./api";
import { CohortView } from "./cohort";
import { Compare } from "./compare";
import { FolderDialog } from "./folder";
import { Form, type Slot } from "./form";
import { fill, h } from "./html";
import { Jobs } from "./jobs";
import { Panel } from "./panel";
import { RunView } from "./run";
import { niivue, Viewer } from "./viewer";

class Page {
  private readonly fixed = new Viewer("Fixed", "Drop or choose the scan that stays");
  private readonly moving = new Viewer("Moving", "Drop or choose the scan to move");
  private readonly compare = new Compare();
  private readonly panel = new Panel();
  private readonly folder: FolderDialog | null;
  private readonly form: Form;
  private readonly jobs: Jobs;
  private readonly work: HTMLElement;
  private readonly run = new RunView(() => this.show("work"));
  private readonly cohort = new CohortView(
    () => this.show("work"),
    (fixed, moving, moved) => this.lookAt(fixed, moving, moved),
  );
  /** The job whose result is shown, or will be. */
  private wanted = "";
  private shown = "";

  constructor(about: About) {
    this.folder = about.has_folder ? new FolderDialog(about.folder_name ?? "Folder") : null;
    this.form = new Form(about, (role, file, volume) => void this.chosen(role, file, volume), (request) => this.register(request), this.folder && ((slot) => this.fill(slot)));
    this.form.dropAt("fixed", this.fixed.element);
    this.form.dropAt("moving", this.moving.element);
    this.jobs = new Jobs((job) => this.changed(job), (job) => void this.open(job));
    const views = h("div", { className: "views" }, this.fixed.element, this.moving.element, this.compare.element);
    this.work = h("main", {}, h("aside", {}, this.form.element, this.jobs.element), h("div", { className: "stagearea" }, this.panel.verdict, views, this.panel.element));
    this.compare.element.hidden = true;
    this.compare.onPicture = () => {
      if (performance.getEntriesByName("pressed").length > 0) performance.measure("button to picture", "pressed");
    };
    fill(document.getElementById("app")!, this.header(about), this.work, this.run.element, this.cohort.element, this.folder?.element);
    this.show("work");
    this.link();
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      void this.form.drop([...(event.dataTransfer?.files ?? [])]);
    });
  }

  private header(about: About): HTMLElement {
    const theme = h("button", { type: "button", title: "Dark or light", onclick: () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark") }, "◐");
    theme.setAttribute("aria-label", "Dark or light");
    const browse = h("button", { type: "button", onclick: () => this.folder!.open((entry) => void this.openEntry(entry.kind, entry.path)) }, "Open a run or cohort");
    const remark = about.kept ? "" : "Uploads and results are removed when ldr-fs app ends.";
    return h("header", { className: "top" }, h("strong", {}, "Ldr"), h("span", { className: "remark" }, `Everything stays on this computer. ${remark}`), this.folder && browse, theme);
  }

  private show(which: "work" | "run" | "cohort"): void {
    this.work.hidden = which !== "work";
    this.run.element.hidden = which !== "run";
    this.cohort.element.hidden = which !== "cohort";
  }

  private async openEntry(kind: string, path: string): Promise<void> {
    if (kind === "run" || kind === "cohort") {
      this.show(kind);
      await (kind === "run" ? this.run : this.cohort).open(path);
    }
  }

  private fill(slot: Slot): void {
    this.folder!.open((entry) => void slot.hold(entry.name, api.choose(entry.path)));
  }

  /** Cross-hairs stay at the same place; after a registration the moving scan's goes where the deformation leads. */
  private link(): void {
    const { fixed, moving, compare } = this;
    const there = (at: [number, number, number]) => (this.shown && compare.lattice ? compare.lattice.forward(at) : at);
    fixed.onMove = (at) => {
      compare.viewer.moveTo(at);
      moving.moveTo(there(at));
    };
    compare.viewer.onMove = (at) => {
      fixed.moveTo(at);
      moving.moveTo(there(at));
    };
    moving.onMove = (at) => {
      const back = this.shown && compare.lattice ? compare.lattice.backward(at) : at;
      fixed.moveTo(back);
      compare.viewer.moveTo(back);
    };
  }

  private async chosen(role: "fixed" | "moving", file: StoredFile | null, volume: number): Promise<void> {
    const viewer = role === "fixed" ? this.fixed : this.moving;
    this.leaveResult();
    if (!file) {
      viewer.clear();
      return;
    }
    await viewer.show([{ url: api.view(file.id, volume), name: role }]).catch((error: Error) => this.complain(error));
    requestIdleCallback(() => void this.compare.viewer.attach());
  }

  private leaveResult(): void {
    this.wanted = "";
    this.shown = "";
    this.jobs.select("");
    this.compare.element.hidden = true;
    this.panel.clear();
  }

  private complain(error: Error): void {
    this.panel.complain(error.message);
  }

  private async register(request: JobRequest): Promise<void> {
    performance.mark("pressed");
    this.panel.begin();
    const job = await api.register(request).catch((error: Error) => {
      this.panel.clear();
      throw error;
    });
    this.wanted = job.id;
    this.compare.prepare(job);
    this.jobs.select(job.id);
    this.jobs.hear(this.jobs.get(job.id) ?? job);
    this.changed(this.jobs.get(job.id)!);
  }

  private changed(job: Job): void {
    if (job.id !== this.wanted) return;
    if (job.state === "queued" || job.state === "running") {
      this.panel.wait(job, () => void api.cancel(job.id));
      if (job.layers.includes("moved")) void this.picture(job).catch(() => undefined);
    } else if (job.state === "done") void this.showResult(job);
    else {
      this.compare.element.hidden = true;
      this.shown = "";
      this.panel.fail(job);
    }
  }

  /** Both scans of a job, before it is judged or after. */
  private async picture(job: Job): Promise<void> {
    this.compare.element.hidden = false;
    if (await this.compare.picture(job)) this.compare.viewer.moveTo(this.fixed.at);
  }

  /** A job of the list, with its scans. */
  private async open(job: Job): Promise<void> {
    this.wanted = job.id;
    this.jobs.select(job.id);
    if (job.state !== "done") {
      this.changed(job);
      return;
    }
    void this.fixed.show([{ url: api.view(job.fixed.id, job.request.volume), name: "fixed" }]).catch(() => undefined);
    void this.moving.show([{ url: api.view(job.moving.id, job.request.volume), name: "moving" }]).catch(() => undefined);
    await this.showResult(job);
  }

  private async showResult(job: Job): Promise<void> {
    if (this.shown === job.id) return;
    this.shown = job.id;
    this.panel.show(job);
    this.compare.element.hidden = false;
    try {
      await this.compare.show(job);
      this.compare.viewer.moveTo(this.fixed.at);
      document.body.dataset.shown = job.id;
    } catch (error) {
      // A file that was taken away meanwhile; the numbers stay.
      if (this.shown === job.id) this.compare.viewer.clear();
      console.warn((error as Error).message);
    }
  }

  /** A pair of a cohort, as the cohort left it. */
  private async lookAt(fixedPath: string, movingPath: string | undefined, movedPath: string): Promise<void> {
    const [fixed, moved] = await Promise.all([api.choose(fixedPath), api.choose(movedPath)]);
    const moving = movingPath ? await api.choose(movingPath) : null;
    this.leaveResult();
    this.show("work");
    this.compare.element.hidden = false;
    await this.fixed.show([{ url: api.view(fixed.id), name: "fixed" }]);
    if (moving) await this.moving.show([{ url: api.view(moving.id), name: "moving" }]);
    else this.moving.clear();
    await this.compare.showFiles(api.view(fixed.id), api.view(moved.id));
    document.body.dataset.shown = moved.id;
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input[type=number], select, textarea")) return;
    if (event.key === "r") this.form.element.requestSubmit();
    else if (event.key === "Escape" && this.jobs.unfinished && !this.folder?.element.open) void api.cancel(this.jobs.unfinished.id);
    else if (!this.compare.element.hidden) this.compare.press(event.key);
  }
}

function setTheme(theme: string): void {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}

async function begin(): Promise<void> {
  // The token has become a cookie: it need not stay in the address.
  history.replaceState(null, "", "/");
  setTheme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  try {
    new Page(await api.about());
    document.body.dataset.ready = "yes";
    requestIdleCallback(() => void niivue());
  } catch (error) {
    fill(document.getElementById("app")!, h("p", { className: "loading" }, (error as Error).message));
  }
}

void begin();
