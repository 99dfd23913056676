namespace Ldr

open System
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms

/// Synthetic anatomy: what `quickstart` trains on. One template of smooth random structures with texture and labels; every
/// subject is that template deformed by a random smooth field, with a bias field and noise of its own.
type Anatomy =
    {
        Size: int * int * int
        Subjects: int
        Structures: int
        /// Standard deviation of a subject's displacement along each axis, voxels.
        Deformation: float
        /// Standard deviation of the noise; the structures' intensities span 0 to 1.
        Noise: float
        Seed: int
    }

module Anatomy =
    let standard: Anatomy =
        {
            Size = 32, 40, 32
            Subjects = 80
            Structures = 6
            Deformation = 2.5
            Noise = 0.03
            Seed = 1
        }

    /// The keys of a synthetic data source.
    let internal fields: Fields<Anatomy, Anatomy> =
        fields {
            let! size =
                optional
                    "size"
                    (Codec.triple (
                        Codec.int
                        |> Codec.where "a whole number from 16 to 256" (fun n -> n >= 16 && n <= 256)
                    ))
                    standard.Size
                    _.Size

            and! subjects =
                optional
                    "subjects"
                    (Codec.int
                     |> Codec.where "a whole number from 1 to 10000" (fun n -> n >= 1 && n <= 10000))
                    standard.Subjects
                    _.Subjects

            and! structures =
                optional
                    "structures"
                    (Codec.int
                     |> Codec.where "a whole number from 1 to 50" (fun n -> n >= 1 && n <= 50))
                    standard.Structures
                    _.Structures

            and! deformation =
                optional "deformation" Codec.notNegative standard.Deformation _.Deformation

            and! noise = optional "noise" Codec.notNegative standard.Noise _.Noise
            and! seed = optional "seed" Codec.int standard.Seed _.Seed

            return
                {
                    Size = size
                    Subjects = subjects
                    Structures = structures
                    Deformation = deformation
                    Noise = noise
                    Seed = seed
                }
        }

    let private grid (nx, ny, nz) = Grid(nx, ny, nz, Affine.Identity)

    let private normal (random: Random) =
        let u = 1.0 - random.NextDouble()
        sqrt (-2.0 * log u) * cos (2.0 * Math.PI * random.NextDouble())

    /// White noise on a coarse grid, interpolated: a smooth random map with about unit deviation. `scale` is the coarse
    /// grid's step in voxels.
    let private smooth (seed: Seed) (scale: float) (target: Grid) =
        let random = Seed.random seed
        let coarse n = int (ceil (float n / scale)) + 3
        let knots = grid (coarse target.Nx, coarse target.Ny, coarse target.Nz)

        let knotValues =
            Array.init (int knots.Count) (fun _ -> float32 (1.6 * normal random))

        let toKnots =
            Affine.Scaling(1.0 / scale, 1.0 / scale, 1.0 / scale).Then(Affine.Translation(1.0, 1.0, 1.0))
        // Linear interpolation has kinks at the knots: two passes of a box filter take them away.
        let values = Warp.Resample(Volume(knots, knotValues), target, toKnots).Values
        let sizes = [| target.Nx; target.Ny; target.Nz |]
        let strides = [| 1; target.Nx; target.Nx * target.Ny |]
        let radius = max 1 (int (scale / 3.0))

        let blur axis (source: float32[]) =
            Array.init source.Length (fun i ->
                let at = i / strides[axis] % sizes[axis]
                let first = max 0 (at - radius)
                let last = min (sizes[axis] - 1) (at + radius)
                let mutable sum = 0.0f

                for k in first..last do
                    sum <- sum + source[i + (k - at) * strides[axis]]

                sum / float32 (last - first + 1))

        (values, [ 0; 1; 2; 0; 1; 2 ]) ||> List.fold (fun v axis -> blur axis v)

    /// Whether each voxel is inside the body, an ellipsoid with a smooth random edge.
    let private body (seed: Seed) (scale: float) (target: Grid) =
        let edge = smooth (seed |> Seed.split "edge") scale target

        let part at n =
            (float at - float (n - 1) / 2.0) / (float n / 2.0)

        Array.init (int target.Count) (fun i ->
            let x, y, z = i % target.Nx, i / target.Nx % target.Ny, i / (target.Nx * target.Ny)

            let radius =
                sqrt (part x target.Nx ** 2.0 + part y target.Ny ** 2.0 + part z target.Nz ** 2.0)

            radius + 0.1 * float edge[i] <= 0.75)

    /// The template's structures: each voxel of the body belongs to the structure whose random map is the highest there;
    /// where all are low it belongs to none.
    let private structures (seed: Seed) (count: int) (scale: float) (inside: bool[]) (target: Grid) =
        let maps = Array.init count (fun s -> smooth (seed |> Seed.at s) scale target)

        Array.init inside.Length (fun i ->
            let height, best = maps |> Array.mapi (fun s map -> map[i], s) |> Array.maxBy fst

            if inside[i] && height >= 0.2f then
                float32 (best + 1)
            else
                0.0f)

    /// One subject: image in [0, 1] (before any intensity rule) and labels.
    let subject (anatomy: Anatomy) : int -> Volume * Volume =
        let target = grid anatomy.Size
        let seed = Seed.ofInt anatomy.Seed
        let shortest = float (min target.Nx (min target.Ny target.Nz))
        let plan = seed |> Seed.split "template"
        let inside = body plan (shortest / 4.0) target

        let labels =
            Volume(target, structures plan anatomy.Structures (shortest / 4.0) inside target, VoxelType.UInt8)

        // The structures' tones spread over 0.1 to 1, in an order that does not follow their numbers.
        let tone =
            let order = Seed.permutation anatomy.Structures (seed |> Seed.split "tones")
            fun label -> 0.1 + 0.9 * (float order[label - 1] + 0.5) / float anatomy.Structures

        let texture = smooth (seed |> Seed.split "texture") 3.0 target

        let image =
            Array.init inside.Length (fun i ->
                let label = int labels.Values[i]
                let ground = if label > 0 then tone label else 0.35

                if inside[i] then
                    float32 (ground + 0.05 * float texture[i])
                else
                    0.0f)

        let image = Volume(target, image)

        fun index ->
            let own = seed |> Seed.split "subject" |> Seed.at index
            let scale = shortest / 3.0

            let field =
                [|
                    for axis in 0..2 do
                        let map = smooth (own |> Seed.split "field" |> Seed.at axis) scale target
                        let deviation = sqrt (map |> Array.averageBy (fun v -> v * v))
                        yield! map |> Array.map (fun v -> v / deviation * float32 anatomy.Deformation)
                |]

            let field = DisplacementField(target, field)
            let moved = Warp.Linear(image, field)
            let bias = smooth (own |> Seed.split "bias") (scale * 1.5) target
            let random = Seed.random (own |> Seed.split "noise")

            let values =
                Array.map2
                    (fun value b -> value * (1.0f + 0.1f * b) + float32 (anatomy.Noise * normal random))
                    moved.Values
                    bias

            Volume(target, values), Warp.Nearest(labels, field)
