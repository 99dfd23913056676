/** The list of jobs, as the server tells of it. */
import { api, type Job } from "./api";
import { digits, fill, h } from "./html";

export class Jobs {
  readonly element = h("section", { className: "jobs", attributes: { "aria-label": "Jobs" } });
  private readonly known = new Map<string, Job>();
  private readonly list = h("ol", {});
  private current = "";

  constructor(
    private readonly changed: (job: Job) => void,
    private readonly open: (job: Job) => void,
  ) {
    this.element.append(h("h2", {}, "Jobs"), this.list);
    this.draw();
    this.listen();
  }

  select(id: string): void {
    this.current = id;
    this.draw();
  }

  get(id: string): Job | undefined {
    return this.known.get(id);
  }

  /** The one that runs, else the last that waits. */
  get unfinished(): Job | undefined {
    const open = [...this.known.values()].filter((job) => job.state === "queued" || job.state === "running");
    return open.find((job) => job.state === "running") ?? open.at(-1);
  }

  hear(job: Job): void {
    const before = this.known.get(job.id);
    this.known.set(job.id, job);
    this.draw();
    if (before?.state !== job.state || before?.stage !== job.stage) this.changed(job);
  }

  private listen(): void {
    const events = new EventSource("/api/events");
    events.addEventListener("job", (event) => this.hear(JSON.parse((event as MessageEvent<string>).data) as Job));
    addEventListener("pagehide", () => events.close());
  }

  private async remove(job: Job): Promise<void> {
    await api.cancel(job.id).catch(() => undefined);
    if (job.state === "queued" || job.state === "running") return;
    this.known.delete(job.id);
    this.draw();
  }

  private draw(): void {
    const jobs = [...this.known.values()].sort((a, b) => b.number - a.number);
    this.element.hidden = jobs.length === 0;
    fill(this.list, ...jobs.map((job) => this.line(job)));
  }

  private line(job: Job): HTMLElement {
    const over = job.state !== "queued" && job.state !== "running";
    const word = job.state === "done" ? job.result!.verdict : job.state;
    return h(
      "li",
      { className: job.id === this.current ? "current" : "" },
      h(
        "button",
        { type: "button", className: "open", disabled: job.state !== "done" && job.state !== "failed", onclick: () => this.open(job) },
        h("span", { className: `badge ${word}` }, word),
        h("span", { className: "pair" }, `${job.moving.name} → ${job.fixed.name}`),
        h("span", { className: "time" }, job.milliseconds ? `${digits(job.milliseconds / 1000, 1)} s` : (job.stage ?? "")),
      ),
      h("button", { type: "button", className: "remove", title: over ? "Remove it, with its files" : "Cancel it", onclick: () => void this.remove(job) }, "×"),
    );
  }
}
