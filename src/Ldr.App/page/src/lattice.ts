/** The deformation on a coarse lattice, and the map of points that it makes with the initial alignment. */

export type Point = [number, number, number];

/** Rows of an affine map, 12 numbers. */
export type Rows = number[];

export function applyMap(m: Rows, [x, y, z]: Point): Point {
  return [
    m[0] * x + m[1] * y + m[2] * z + m[3],
    m[4] * x + m[5] * y + m[6] * z + m[7],
    m[8] * x + m[9] * y + m[10] * z + m[11],
  ];
}

export class Lattice {
  private constructor(
    private readonly size: Point,
    private readonly toNode: Rows,
    private readonly vectors: Float32Array,
    private readonly initial: Rows,
  ) {}

  /** Reads what the server's layer `grid` holds. */
  static read(buffer: ArrayBuffer, initial: Rows): Lattice {
    const length = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    return new Lattice(header.size, header.world_to_node, new Float32Array(buffer, 4 + length), initial);
  }

  /** Where a point of the fixed scan goes by the deformation alone, mm, RAS+. */
  deform(p: Point): Point {
    const [nx, ny, nz] = this.size;
    const at = applyMap(this.toNode, p);
    const low: number[] = [];
    const part: number[] = [];
    for (let axis = 0; axis < 3; axis++) {
      const value = Math.min(Math.max(at[axis], 0), this.size[axis] - 1);
      low[axis] = Math.min(Math.floor(value), Math.max(0, this.size[axis] - 2));
      part[axis] = value - low[axis];
    }
    const plane = nx * ny * nz;
    const out: Point = [p[0], p[1], p[2]];
    for (let corner = 0; corner < 8; corner++) {
      let weight = 1;
      const index: number[] = [];
      for (let axis = 0; axis < 3; axis++) {
        const up = (corner >> axis) & 1;
        weight *= up ? part[axis] : 1 - part[axis];
        index[axis] = Math.min(low[axis] + up, this.size[axis] - 1);
      }
      if (weight === 0) continue;
      const i = index[0] + nx * (index[1] + ny * index[2]);
      out[0] += weight * this.vectors[i];
      out[1] += weight * this.vectors[plane + i];
      out[2] += weight * this.vectors[2 * plane + i];
    }
    return out;
  }

  /** From the fixed to the moving scan. */
  forward(p: Point): Point {
    return applyMap(this.initial, this.deform(p));
  }

  /** From the moving to the fixed scan, by iteration. */
  backward(q: Point): Point {
    let p: Point = [q[0], q[1], q[2]];
    for (let step = 0; step < 40; step++) {
      const there = this.forward(p);
      p = [p[0] + 0.7 * (q[0] - there[0]), p[1] + 0.7 * (q[1] - there[1]), p[2] + 0.7 * (q[2] - there[2])];
    }
    return p;
  }
}
