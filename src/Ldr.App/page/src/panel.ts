/** What is said of a finished job: the verdict in words, numbers, downloads, the command. */
import { api, type Agreement, type Job } from "./api";
import { digits, fill, h } from "./html";

const WORDS = {
  ok: "No sign that anything went wrong",
  look: "Look at it before you use it",
  failed: "Failed: do not use it as it is",
};

const NUMBERS: [key: string, title: string, places: number, unit: string][] = [
  ["similarity_before", "Similarity before", 3, ""],
  ["similarity_after", "Similarity after", 3, ""],
  ["folded_percent", "Folded", 2, "%"],
  ["extreme_content_percent", "Torn content", 2, "%"],
  ["mean_deformation_mm", "Deformation, mean", 2, "mm"],
  ["max_deformation_mm", "Deformation, largest", 1, "mm"],
  ["overlap_percent", "Overlap at the start", 0, "%"],
  ["inverse_error_mean_mm", "There and back", 3, "mm"],
];

const TIMES: [key: string, title: string][] = [
  ["affine", "alignment"],
  ["network", "network"],
  ["refinement", "refinement"],
  ["diffeomorphic", "unfolding"],
  ["warp", "resampling"],
];

export class Panel {
  /** Above the pictures. */
  readonly verdict = h("section", { attributes: { "aria-label": "Verdict", "aria-live": "polite" } });
  /** Below them. */
  readonly element = h("section", { className: "panel", attributes: { "aria-label": "Numbers and files" } });

  clear(): void {
    fill(this.verdict);
    fill(this.element);
  }

  /** A job that is sent: the button was pressed. */
  begin(): void {
    fill(this.element);
    this.say("running", h("b", {}, "Beginning …"), h("progress", {}));
  }

  /** A job that waits or runs. */
  wait(job: Job, cancel: () => void): void {
    fill(this.element);
    this.say(
      "running",
      h("b", {}, job.state === "queued" ? "Waiting for its turn" : `${job.stage ?? "beginning"} …`),
      h("progress", {}),
      h("button", { type: "button", className: "cancel", onclick: cancel }, "Cancel (Esc)"),
    );
  }

  fail(job: Job): void {
    this.complain(job.state === "cancelled" ? "Cancelled" : (job.error ?? "It failed"));
  }

  complain(words: string): void {
    this.clear();
    this.say("failed", h("b", { attributes: { role: "alert" } }, words));
  }

  show(job: Job): void {
    const result = job.result!;
    this.say(
      result.verdict,
      h("span", { className: `badge ${result.verdict}` }, result.verdict),
      h("b", {}, WORDS[result.verdict]),
      h("span", { className: "short" }, `Similarity ${digits(result.similarity_before, 3)} before, ${digits(result.similarity_after, 3)} after; ${digits(result.folded_percent, 2)} % folded; ${digits(result.mean_deformation_mm, 1)} mm on average.`),
      result.reasons.length > 0 && h("ul", {}, ...result.reasons.map((reason) => h("li", {}, reason))),
    );
    fill(
      this.element,
      h("dl", { className: "numbers" }, ...NUMBERS.flatMap(([key, title, places, unit]) => this.number(title, digits(result[key], places), unit))),
      result.labels && this.agreement(result.labels),
      h("p", { className: "times" }, this.times(job)),
      this.downloads(job),
      this.applying(job),
      this.command(job.command ?? ""),
    );
  }

  private say(kind: string, ...words: (Node | string | false)[]): void {
    fill(this.verdict, h("div", { className: `verdict ${kind}` }, ...words));
  }

  private number(title: string, value: string, unit: string): HTMLElement[] {
    return [h("dt", {}, title), h("dd", {}, unit ? `${value} ${unit}` : value)];
  }

  /** Dice of both label maps; label by label in a fold-out. */
  private agreement(labels: Agreement): HTMLElement {
    const row = (name: string, before: number, after: number) => h("tr", {}, h("th", {}, name), h("td", {}, digits(before, 3)), h("td", {}, digits(after, 3)));
    return h(
      "details",
      { className: "labels" },
      h("summary", {}, `Labels: Dice ${digits(labels.dice_before, 3)} before, ${digits(labels.dice, 3)} after`),
      h("table", {}, h("tr", {}, h("th", {}, "label"), h("th", {}, "before"), h("th", {}, "after")), ...labels.per_label.map((l) => row(String(l.label), l.dice_before, l.dice))),
    );
  }

  private times(job: Job): string {
    const times = job.result!.milliseconds;
    const parts = TIMES.filter(([key]) => times[key] >= 5).map(([key, title]) => `${title} ${digits(times[key] / 1000, 2)} s`);
    const model = job.model === "none" ? "Without a model" : `Model ${job.model}`;
    return `${model}: ${digits(job.milliseconds! / 1000, 2)} s from start to result${parts.length > 0 ? ` (${parts.join(", ")})` : ""}.`;
  }

  private downloads(job: Job): HTMLElement {
    return h(
      "div",
      { className: "downloads" },
      h("h2", {}, "Save"),
      ...job.downloads.map(({ title, name, endings }) => {
        const link = h("a", { className: "save", attributes: { download: "", "data-name": name } }, title);
        const point = (ending: string) => {
          link.href = api.download(job.id, name + ending);
        };
        point(endings[0]);
        const choice = h("select", { onchange: (event) => point((event.target as HTMLSelectElement).value), attributes: { "aria-label": `${title}: format` } }, ...endings.map((ending) => h("option", { value: ending }, ending)));
        return h("div", { className: "row" }, link, endings.length > 1 ? choice : h("span", { className: "ending" }, endings[0]));
      }),
    );
  }

  /** A place that moves what is dropped into it by this job's transform. */
  private applying(job: Job): HTMLElement {
    const kind = h("select", { attributes: { "aria-label": "What it is" } }, ...["image", "labels", "points"].map((value) => h("option", { value }, value)));
    const input = h("input", { type: "file", id: "apply" });
    const said = h("output", {});
    const take = async (file: File | undefined) => {
      if (!file) return;
      fill(said, `${file.name} …`);
      try {
        const stored = await api.upload(file);
        const what = stored.role === "points" ? "points" : kind.value === "points" ? "image" : kind.value;
        const moved = await api.apply(job.id, stored.id, what);
        fill(said, h("a", { href: moved.address, className: "save", attributes: { download: moved.name } }, `Save ${moved.name}`));
      } catch (error) {
        fill(said, (error as Error).message);
      }
      input.value = "";
    };
    input.onchange = () => void take(input.files?.[0]);
    const box = h("div", { className: "apply" }, h("h2", {}, "Move something else by this result"), h("div", { className: "row" }, input, h("label", { htmlFor: "apply", className: "drop" }, "Drop or choose a file of the moving scan"), kind), said);
    box.ondragover = (event) => event.preventDefault();
    box.ondrop = (event) => {
      event.preventDefault();
      event.stopPropagation();
      void take(event.dataTransfer?.files[0]);
    };
    return box;
  }

  private command(text: string): HTMLElement {
    const copy = h("button", { type: "button" }, "Copy");
    copy.onclick = async () => {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy"), 1500);
    };
    return h("div", { className: "command" }, h("h2", {}, "The same on the command line"), h("pre", {}, h("code", {}, text)), copy);
  }
}
