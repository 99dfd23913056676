/** What is painted over the slices: the deformed grid, and outlines of labels. */
import type { NVImage } from "@niivue/niivue";
import type { Lattice } from "./lattice";
import type { Tile } from "./viewer";

/** Pixels between two samples of a slice. */
const STEP = 1;

/** A colour for a label, spread around the circle; the same label has the same one in both scans. */
function colour(label: number): [number, number, number] {
  const hue = (label * 137.508) % 360;
  const channel = (n: number) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (0.6 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}

/** Paints pixels of a tile; the pen gets a pixel's place, 0 to 1, and gives its colour or nothing. */
function paintTile(
  context: CanvasRenderingContext2D,
  tile: Tile,
  rows: (width: number, height: number) => Uint8ClampedArray,
): void {
  const width = Math.max(1, Math.floor(tile.width / STEP));
  const height = Math.max(1, Math.floor(tile.height / STEP));
  const image = new ImageData(new Uint8ClampedArray(rows(width, height)), width, height);
  const buffer = new OffscreenCanvas(width, height);
  buffer.getContext("2d")!.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(buffer, tile.left, tile.top, width * STEP, height * STEP);
}

/** World axes in the plane of a slice. */
const IN_PLANE = [
  [0, 1],
  [0, 2],
  [1, 2],
];

/** Lines of a regular grid of the moving scan, where the deformation brings them. */
export function paintGrid(context: CanvasRenderingContext2D, tile: Tile, lattice: Lattice, spacing: number): void {
  paintTile(context, tile, (width, height) => {
    const pixels = new Uint8ClampedArray(4 * width * height);
    const [a, b] = IN_PLANE[tile.axis];
    const at = new Float32Array(2 * width * height);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i += 2) {
        const point = lattice.deform(tile.world((x + 0.5) / width, (y + 0.5) / height));
        at[i] = point[a] / spacing;
        at[i + 1] = point[b] / spacing;
      }
    }
    // A line runs where two neighbouring pixels lie in different cells.
    const differs = (i: number, j: number) =>
      Math.floor(at[i]) !== Math.floor(at[j]) || Math.floor(at[i + 1]) !== Math.floor(at[j + 1]);
    for (let y = 0; y < height - 1; y++) {
      for (let x = 0; x < width - 1; x++) {
        const i = 2 * (x + width * y);
        if (differs(i, i + 2) || differs(i, i + 2 * width)) pixels.set([255, 214, 64, 210], 2 * i);
      }
    }
    return pixels;
  });
}

/** Outlines of a label map that the viewer's library has read. */
export class Outlines {
  private readonly size: number[];
  private readonly toVoxel: (mm: number[]) => number[];

  constructor(
    private readonly labels: NVImage,
    private readonly dashed: boolean,
  ) {
    const dims = labels.hdr!.dims;
    this.size = [dims[1], dims[2], dims[3]];
    this.toVoxel = inverse(labels.hdr!.affine);
  }

  paint(context: CanvasRenderingContext2D, tile: Tile): void {
    paintTile(context, tile, (width, height) => {
      const found = this.sample(tile, width, height);
      const pixels = new Uint8ClampedArray(4 * width * height);
      for (let y = 0; y < height - 1; y++) {
        for (let x = 0; x < width - 1; x++) {
          const i = x + width * y;
          const here = found[i];
          const edge = here !== found[i + 1] || here !== found[i + width];
          if (!edge || (this.dashed && ((x + y) >> 2) % 2 === 1)) continue;
          pixels.set([...colour(here || found[i + 1] || found[i + width]), 255], 4 * i);
        }
      }
      return pixels;
    });
  }

  private sample(tile: Tile, width: number, height: number): Int32Array {
    const found = new Int32Array(width * height);
    const image = this.labels.img!;
    const [nx, ny, nz] = this.size;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [i, j, k] = this.toVoxel(tile.world((x + 0.5) / width, (y + 0.5) / height)).map(Math.round);
        if (i >= 0 && j >= 0 && k >= 0 && i < nx && j < ny && k < nz) found[x + width * y] = image[i + nx * (j + ny * k)];
      }
    }
    return found;
  }
}

/** From mm to voxels, of rows of an affine map from voxels to mm. */
function inverse(rows: number[][]): (mm: number[]) => number[] {
  const [[a, b, c, tx], [d, e, f, ty], [g, i, j, tz]] = rows;
  const determinant = a * (e * j - f * i) - b * (d * j - f * g) + c * (d * i - e * g);
  const m = [
    [e * j - f * i, c * i - b * j, b * f - c * e],
    [f * g - d * j, a * j - c * g, c * d - a * f],
    [d * i - e * g, b * g - a * i, a * e - b * d],
  ];
  return (mm) => {
    const p = [mm[0] - tx, mm[1] - ty, mm[2] - tz];
    return m.map((row) => (row[0] * p[0] + row[1] * p[1] + row[2] * p[2]) / determinant);
  };
}
