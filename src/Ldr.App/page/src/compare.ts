/** The result's viewer: fixed and moved scan over each other in several ways. */
import type { NVImage } from "@niivue/niivue";
import { api, ask, type Job } from "./api";
import { fill, h } from "./html";
import { Lattice } from "./lattice";
import { Outlines, paintGrid } from "./overlay";
import { loadVolume, Viewer } from "./viewer";

export type Mode = "blend" | "checker" | "difference" | "jacobian";

const MODES: { mode: Mode; title: string; key: string; slider: string; start: number }[] = [
  { mode: "blend", title: "Blend", key: "1", slider: "Moved over fixed", start: 50 },
  { mode: "checker", title: "Checkerboard", key: "2", slider: "Size of the squares", start: 30 },
  { mode: "difference", title: "Difference", key: "3", slider: "Contrast", start: 50 },
  { mode: "jacobian", title: "Volume change", key: "4", slider: "Strength of the colours", start: 60 },
];

export class Compare {
  readonly viewer = new Viewer("Result");
  readonly element: HTMLElement;
  /** The deformation of the job that is shown. */
  lattice: Lattice | null = null;
  /** Where the volume changes can be had; empty once they were asked for. */
  private jacobian = "";
  /** Is told when the two scans are on the screen; grid and outlines come after. */
  onPicture: () => void = () => {};
  private mode: Mode = "blend";
  private readonly values = new Map(MODES.map((m) => [m.mode, m.start]));
  private readonly slider = h("input", { type: "range", min: "0", max: "100", id: "amount" });
  private readonly sliderName = h("label", { htmlFor: "amount" });
  private readonly buttons = new Map<Mode, HTMLButtonElement>();
  private readonly grid = h("input", { type: "checkbox", id: "grid" });
  private readonly outline = h("input", { type: "checkbox", id: "outline", checked: true });
  private readonly outlineBox = h("span", { className: "check", hidden: true }, this.outline, h("label", { htmlFor: "outline" }, "Outlines"));
  private readonly legend = h("p", { className: "legend" });
  private outlines: Outlines[] = [];
  /** The pair that is drawn next, or drawn without its numbers. */
  private pair: { id: string; fixed: Promise<NVImage>; drawn?: Promise<boolean> } | null = null;
  private refreshing = 0;
  private mixed: NVImage | null = null;
  /** What the mixed image holds: it is filled anew only for another. */
  private mixedAs = "";
  private gridSpacing = 8;

  constructor() {
    const modes = h("div", { className: "modes", attributes: { role: "radiogroup", "aria-label": "How the scans are shown" } });
    for (const { mode, title, key } of MODES) {
      const button = h("button", { type: "button", title: `${title} (${key})`, onclick: () => this.choose(mode), attributes: { role: "radio", "data-mode": mode } }, title);
      this.buttons.set(mode, button);
      modes.append(button);
    }
    this.slider.oninput = () => {
      this.values.set(this.mode, Number(this.slider.value));
      // Once for each picture on the screen, however fast it is moved.
      this.refreshing ||= requestAnimationFrame(() => {
        this.refreshing = 0;
        this.refresh();
      });
    };
    this.grid.onchange = () => this.viewer.repaint();
    this.outline.onchange = () => this.viewer.repaint();
    this.viewer.onPaint = (context, tiles) => {
      for (const tile of tiles) {
        if (this.grid.checked && this.lattice) paintGrid(context, tile, this.lattice, this.gridSpacing);
        if (this.outline.checked) for (const outlines of this.outlines) outlines.paint(context, tile);
      }
    };
    const checks = h("span", { className: "check" }, this.grid, h("label", { htmlFor: "grid", title: "Deformed grid (G)" }, "Grid"));
    const bar = h("div", { className: "bar" }, modes, h("span", { className: "amount" }, this.sliderName, this.slider), checks, this.outlineBox);
    this.element = h("section", { className: "compare", attributes: { "aria-label": "Result" } }, bar, this.viewer.element, this.legend);
    this.choose("blend");
  }

  /** Fetches what a job's result is laid over, while the job runs. */
  prepare(job: Job): void {
    const fixed = loadVolume({ url: api.view(job.fixed.id, job.request.volume), name: "fixed" });
    // Told when the result is shown.
    fixed.catch(() => undefined);
    this.pair = { id: job.id, fixed };
  }

  /** Draws both scans of a job, as soon as the moved one is there; whether they are what is shown now. */
  picture(job: Job): Promise<boolean> {
    if (this.pair?.id !== job.id) this.prepare(job);
    return (this.pair!.drawn ??= this.draw(job, this.pair!.fixed));
  }

  private async draw(job: Job, fixed: Promise<NVImage>): Promise<boolean> {
    this.lattice = null;
    this.outlines = [];
    this.mixed = null;
    this.jacobian = "";
    const shown = await this.viewer.show([
      fixed,
      { url: api.layer(job.id, "moved"), name: "moved", colormap: "warm", opacity: 0.5 },
    ]);
    if (!shown) return false;
    if (this.mode === "blend" && this.values.get("blend") === 50) this.viewer.repaint();
    else this.choose(this.mode);
    this.onPicture();
    return true;
  }

  /** Shows a finished job. */
  async show(job: Job): Promise<void> {
    const shown = await this.picture(job);
    // The next look draws anew.
    if (this.pair?.id === job.id) this.pair = null;
    if (!shown) return;
    const buffer = await (await ask(api.layer(job.id, "grid"))).arrayBuffer();
    this.lattice = Lattice.read(buffer, job.result!.affine);
    const [volume] = this.viewer.volumes;
    const extent = Math.max(...[1, 2, 3].map((axis) => volume.dims![axis] * volume.pixDims![axis]));
    this.gridSpacing = extent / 24;
    this.outlines = await Promise.all(
      ["labels", "fixed_labels"]
        .filter((name) => job.layers.includes(name))
        .map(async (name) => new Outlines(await loadVolume({ url: api.layer(job.id, name), name }), name === "fixed_labels")),
    );
    this.outlineBox.hidden = this.outlines.length === 0;
    this.jacobian = api.layer(job.id, "jacobian");
    if (this.mode === "jacobian") this.refresh();
    else this.viewer.repaint();
  }

  /** Shows two images of one grid, without a job: a pair of a cohort. */
  async showFiles(fixed: string, moved: string): Promise<void> {
    this.pair = null;
    this.lattice = null;
    this.outlines = [];
    this.mixed = null;
    this.jacobian = "";
    this.outlineBox.hidden = true;
    await this.viewer.show([
      { url: fixed, name: "fixed" },
      { url: moved, name: "moved", colormap: "warm", opacity: 0.5 },
    ]);
    this.choose(this.mode === "jacobian" ? "blend" : this.mode);
  }

  /** One of the ways, by its key; whether there is one. */
  press(key: string): boolean {
    const found = MODES.find((m) => m.key === key);
    if (found) this.choose(found.mode);
    if (key === "g") this.grid.click();
    if (key === "o") this.outline.click();
    return !!found || key === "g" || key === "o";
  }

  choose(mode: Mode): void {
    this.mode = mode;
    const { slider } = MODES.find((m) => m.mode === mode)!;
    this.sliderName.textContent = slider;
    this.slider.value = String(this.values.get(mode));
    for (const [other, button] of this.buttons) button.setAttribute("aria-checked", String(other === mode));
    fill(this.legend, LEGENDS[mode]);
    this.refresh();
  }

  private refresh(): void {
    const { volumes } = this.viewer;
    if (volumes.length < 2) return;
    const [fixed, moved] = volumes;
    const amount = this.values.get(this.mode)! / 100;
    fixed.opacity = 1;
    moved.opacity = this.mode === "blend" ? amount : 0;
    if (this.mode === "jacobian") void this.colour(amount);
    else if (this.mode !== "blend") this.mix(fixed, moved, amount);
    for (const image of this.viewer.volumes.slice(2)) {
      const wanted = this.mode === "jacobian" ? image.name.startsWith("jacobian") : image === this.mixed && this.mode !== "blend";
      image.opacity = wanted ? (this.mode === "jacobian" ? amount : 1) : 0;
    }
    this.viewer.update();
  }

  /** The volume changes over the fixed scan; they are asked for at the first look. */
  private async colour(amount: number): Promise<void> {
    const address = this.jacobian;
    if (!address || this.viewer.volumes.some((image) => image.name.startsWith("jacobian"))) return;
    this.jacobian = "";
    const image = await loadVolume({
      url: address,
      name: "jacobian",
      colormap: "warm",
      colormapNegative: "winter",
      opacity: amount,
      cal_min: 0.05,
      cal_max: 1.6,
      cal_minNeg: -1.6,
      cal_maxNeg: -0.05,
    });
    this.viewer.add(image);
    this.refresh();
  }

  /** Fixed and moved scan in one image: squares of each in turn, or what they differ by. */
  private mix(fixed: NVImage, moved: NVImage, amount: number): void {
    if (!this.mixed) {
      this.mixed = fixed.clone();
      this.mixedAs = "";
      this.mixed.name = "mixed.nii";
      this.mixed.img = new Float32Array(fixed.img!.length);
      this.mixed.hdr = { ...fixed.hdr!, datatypeCode: 16, numBitsPerVoxel: 32, scl_slope: 1, scl_inter: 0 } as typeof fixed.hdr;
      this.viewer.add(this.mixed);
    }
    const out = this.mixed.img as Float32Array;
    const how = this.mode === "checker" ? `checker ${amount}` : "difference";
    if (how !== this.mixedAs) {
      this.mixedAs = how;
      const a = unit(fixed);
      const b = unit(moved);
      if (this.mode === "checker") checkerboard(fixed, a, b, out, amount);
      else for (let i = 0; i < out.length; i++) out[i] = b(i) - a(i);
    }
    const most = this.mode === "checker" ? 1 : 1.05 - amount;
    this.mixed.colormap = "gray";
    this.mixed.cal_min = this.mode === "checker" ? 0 : -most;
    this.mixed.cal_max = most;
  }
}

const LEGENDS: Record<Mode, string> = {
  blend: "Grey: fixed. Warm: moved, over it.",
  checker: "Squares of the fixed and of the moved scan in turn. Edges should run on across their borders.",
  difference: "Moved minus fixed, each in its own window. Grey: equal.",
  jacobian: "Warm: a voxel holds more of the moving scan than its own volume (J above 1). Blue: less (J below 1). Full colour: threefold.",
};

/** Voxels of an image as 0 to 1 in its window. */
function unit(image: NVImage): (i: number) => number {
  const values = image.img!;
  const slope = image.hdr!.scl_slope || 1;
  const inter = image.hdr!.scl_inter || 0;
  const low = image.cal_min ?? 0;
  const range = (image.cal_max ?? 1) - low || 1;
  const [scale, shift] = [slope / range, (inter - low) / range];
  return (i) => {
    const value = values[i] * scale + shift;
    return value < 0 ? 0 : value > 1 ? 1 : value;
  };
}

function checkerboard(grid: NVImage, a: (i: number) => number, b: (i: number) => number, out: Float32Array, amount: number): void {
  const [nx, ny, nz] = grid.dims!.slice(1, 4);
  const mm = Math.max(...[1, 2, 3].map((axis) => grid.dims![axis] * grid.pixDims![axis]));
  const side = mm * (0.03 + 0.3 * amount);
  const cell = (n: number, axis: number) => Math.floor((n * grid.pixDims![axis]) / side);
  for (let z = 0, i = 0; z < nz; z++) {
    const cz = cell(z, 3);
    for (let y = 0; y < ny; y++) {
      const cy = cell(y, 2) + cz;
      for (let x = 0; x < nx; x++, i++) out[i] = (cell(x, 1) + cy) % 2 === 0 ? a(i) : b(i);
    }
  }
}
