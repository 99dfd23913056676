/** One NiiVue canvas with a transparent one over it, on which grid and outlines are painted. */
import type { Niivue, NVImage } from "@niivue/niivue";
import { h } from "./html";
import type { Point } from "./lattice";

/** NiiVue weighs more than all else: it comes when the page stands. */
export const niivue = () => (loaded ??= import("@niivue/niivue").then(trusting));
let loaded: Promise<typeof import("@niivue/niivue")> | null = null;

/** A window that is given is taken: NiiVue looks at the voxels in any case, and the page stands still meanwhile. */
function trusting(module: typeof import("@niivue/niivue")): typeof import("@niivue/niivue") {
  const images = module.NVImage.prototype;
  const look = images.calMinMax;
  images.calMinMax = function (this: NVImage, ...how) {
    const { cal_min: low, cal_max: high } = this.hdr!;
    if (!(high > low)) return look.apply(this, how);
    this.cal_min = this.robust_min = this.global_min = low;
    this.cal_max = this.robust_max = this.global_max = high;
    return [low, high, low, high];
  };
  return module;
}

/** A volume to show, and how. */
export type Layer = { url: string; name: string } & Partial<Pick<NVImage, "colormap" | "colormapNegative" | "opacity" | "cal_min" | "cal_max" | "cal_minNeg" | "cal_maxNeg">>;

/** Fetches and reads a volume. */
export async function loadVolume(layer: Layer): Promise<NVImage> {
  const { NVImage } = await niivue();
  return NVImage.loadFromUrl({ ...layer, name: `${layer.name}.nii` });
}

/** A slice on the screen: its place in canvas pixels, and the world position of a pixel of it. */
export interface Tile {
  left: number;
  top: number;
  width: number;
  height: number;
  /** 0 axial, 1 coronal, 2 sagittal. */
  axis: number;
  /** mm, RAS+; x and y from 0 to 1 across the tile. */
  world: (x: number, y: number) => Point;
}

export class Viewer {
  readonly element: HTMLElement;
  private nv: Niivue | null = null;
  /** Is told where the cross-hair is, mm, when the user moved it. */
  onMove: (at: Point) => void = () => {};
  /** Paints over the slices after each drawing. */
  onPaint: (context: CanvasRenderingContext2D, tiles: Tile[]) => void = () => {};
  private readonly canvas = h("canvas", { tabIndex: 0 });
  private readonly over = h("canvas", { className: "over" });
  private readonly place = h("output", { className: "place" });
  private attached: Promise<Niivue> | null = null;
  private silent = false;
  private loading = 0;

  constructor(title: string, empty = "nothing yet") {
    this.canvas.setAttribute("aria-label", `${title}: slices; arrow keys move the cross-hair`);
    this.element = h(
      "figure",
      { className: "viewer" },
      h("figcaption", {}, h("b", {}, title), this.place),
      h("div", { className: "stage", attributes: { "data-empty": empty } }, this.canvas, this.over),
    );
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** Compiles the shaders, which takes a second without a graphics card: when there is something to show, or time. */
  attach(): Promise<Niivue> {
    this.attached ??= this.create();
    return this.attached;
  }

  private async create(): Promise<Niivue> {
    const { Niivue } = await niivue();
    const nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.35, 0.75, 1, 0.7],
      crosshairWidth: 0.5,
      crosshairWidthUnit: "percent",
      multiplanarLayout: 3,
      isSliceMM: true,
      multiplanarShowRender: 0,
      dragAndDropEnabled: false,
      isOrientationTextVisible: true,
      loadingText: "",
      fontMinPx: 11,
      logLevel: "error",
    });
    nv.onLocationChange = (data) => this.located(data as { mm: number[]; values: { value: number }[] });
    const draw = nv.drawScene.bind(nv);
    nv.drawScene = (() => {
      const drawn = draw();
      this.paint();
      return drawn;
    }) as typeof nv.drawScene;
    await new Promise((resolve) => requestAnimationFrame(resolve));
    await nv.attachToCanvas(this.canvas);
    this.nv = nv;
    return nv;
  }

  /** Shows volumes in place of what was there; whoever asks last wins. Some may be on their way already. */
  async show(volumes: (Layer | Promise<NVImage>)[]): Promise<boolean> {
    const mine = ++this.loading;
    this.element.classList.add("busy");
    try {
      const [nv, images] = await Promise.all([this.attach(), Promise.all(volumes.map((volume) => (volume instanceof Promise ? volume : loadVolume(volume))))]);
      if (mine !== this.loading) return false;
      // All but the last without drawing: each drawing fills the textures anew.
      nv.volumes = images.slice(0, -1);
      nv.addVolume(images[images.length - 1]);
      this.element.classList.add("filled");
      return true;
    } finally {
      if (mine === this.loading) this.element.classList.remove("busy");
    }
  }

  clear(): void {
    this.element.classList.remove("filled");
    for (const volume of this.volumes.toReversed()) this.nv!.removeVolume(volume);
    this.place.value = "";
  }

  /** Moves the cross-hair without telling anybody. */
  moveTo(at: Point): void {
    const nv = this.nv;
    if (!nv?.volumes.length) return;
    this.silent = true;
    nv.scene.crosshairPos = nv.mm2frac([at[0], at[1], at[2]]);
    nv.drawScene();
    nv.createOnLocationChange();
    this.silent = false;
  }

  /** Where the cross-hair is; the origin as long as nothing was shown. */
  get at(): Point {
    const mm = this.nv?.frac2mm(this.nv.scene.crosshairPos) ?? [0, 0, 0];
    return [mm[0], mm[1], mm[2]];
  }

  /** What is shown, the lowest first. */
  get volumes(): NVImage[] {
    return this.nv?.volumes ?? [];
  }

  /** Lays another volume over the others. */
  add(volume: NVImage): void {
    this.nv?.addVolume(volume);
  }

  /** Draws anew after volumes or their windows have changed. */
  update(): void {
    this.nv?.updateGLVolume();
  }

  repaint(): void {
    if (this.volumes.length > 0) this.nv!.drawScene();
  }

  private located(data: { mm: number[]; values: { value: number }[] }): void {
    const [x, y, z] = data.mm;
    const value = data.values?.[0]?.value;
    this.place.value =
      `${x.toFixed(1)}, ${y.toFixed(1)}, ${z.toFixed(1)} mm` +
      (typeof value === "number" ? ` · ${Number(value.toPrecision(5))}` : "");
    if (!this.silent) this.onMove([x, y, z]);
  }

  /** Arrow keys move by a voxel in the plane of the axial slice, page keys along the body. */
  private key(event: KeyboardEvent): void {
    const moves: Record<string, Point> = {
      ArrowLeft: [-1, 0, 0],
      ArrowRight: [1, 0, 0],
      ArrowUp: [0, 1, 0],
      ArrowDown: [0, -1, 0],
      PageUp: [0, 0, 1],
      PageDown: [0, 0, -1],
    };
    const move = moves[event.key];
    const [volume] = this.volumes;
    if (!move || !volume) return;
    event.preventDefault();
    event.stopPropagation();
    const step = Math.min(...(volume.pixDimsRAS ?? [1, 1, 1, 1]).slice(1, 4));
    const at = this.at;
    const to: Point = [at[0] + step * move[0], at[1] + step * move[1], at[2] + step * move[2]];
    this.moveTo(to);
    this.onMove(to);
  }

  private tiles(nv: Niivue): Tile[] {
    return nv.screenSlices
      .map((slice, index): Tile | null => {
        const [left, top, width, height] = slice.leftTopWidthHeight;
        if (slice.axCorSag > 2) return null;
        const frac = (x: number, y: number) => nv.screenXY2TextureFrac(left + x * width, top + y * height, index, false);
        const world = (x: number, y: number): Point => {
          const mm = nv.frac2mm(frac(x, y));
          return [mm[0], mm[1], mm[2]];
        };
        const [o, a, b] = [world(0.001, 0.001), world(0.999, 0.001), world(0.001, 0.999)];
        return {
          left,
          top,
          width,
          height,
          axis: slice.axCorSag,
          world: (x, y) => [0, 1, 2].map((i) => o[i] + x * (a[i] - o[i]) + y * (b[i] - o[i])) as Point,
        };
      })
      .filter((tile): tile is Tile => tile !== null);
  }

  private paint(): void {
    if (this.over.width !== this.canvas.width) this.over.width = this.canvas.width;
    if (this.over.height !== this.canvas.height) this.over.height = this.canvas.height;
    const context = this.over.getContext("2d")!;
    context.clearRect(0, 0, this.over.width, this.over.height);
    if (this.nv?.volumes.length) this.onPaint(context, this.tiles(this.nv));
  }
}
