namespace Ldr

open Ldr.Runtime.Geometry
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

/// JSON forms of the Runtime's types.
module RuntimeCodecs =
    let private range what =
        Codec.list Codec.finite
        |> Codec.where $"two rising numbers, {what}" (fun v -> v.Length = 2 && v[0] < v[1])
        |> Codec.map (fun v -> v[0], v[1]) (fun (low, high) -> [ low; high ])

    /// `{"percentiles": [0.5, 99.5]}` of each volume, or a fixed window `{"window": [-1000, 400]}`.
    let intensity: Codec<IntensityRule> =
        let fields =
            codec {
                let! percentiles =
                    maybe
                        "percentiles"
                        (range "percent"
                         |> Codec.where "two rising percentages from 0 to 100" (fun (low, high) ->
                             low >= 0.0 && high <= 100.0))
                        fst

                and! window = maybe "window" (range "in the units of the scans") snd

                return percentiles, window
            }

        let one =
            fields
            |> Codec.where "either \"percentiles\" or \"window\"" (fun (p, w) -> p.IsSome <> w.IsSome)

        one
        |> Codec.map
            (fun (percentiles, window) ->
                match percentiles, window with
                | Some bounds, _ -> IntensityRule.Percentiles bounds :> IntensityRule
                | None, Some bounds -> IntensityRule.Window bounds :> IntensityRule
                | None, None -> invalidOp "one of the two is there")
            (fun rule ->
                match rule with
                | :? IntensityRule.Percentiles as p -> Some(p.Low, p.High), None
                | :? IntensityRule.Window as w -> None, Some(w.Low, w.High)
                | _ -> invalidOp "an unknown intensity rule")

    let alignment: Codec<Alignment> =
        Codec.choice
            [
                "world", Alignment.World
                "centres", Alignment.Centres
                "affine", Alignment.Affine
            ]

    /// The voxels of a training grid along x, y, z: 8 to 1024, and not more in all than a registration takes.
    let gridSize: Codec<int * int * int> =
        Codec.int
        |> Codec.where "a whole number from 8 to 1024" (fun n -> n >= 8 && n <= 1024)
        |> Codec.triple
        |> Codec.where
            $"three whole numbers from 8 to 1024, at most {ModelGrid.MostVoxels} voxels in all"
            (fun (x, y, z) -> int64 x * int64 y * int64 z <= ModelGrid.MostVoxels)

    /// A length, mm.
    let millimetres: Codec<float> =
        Codec.finite
        |> Codec.where "a number from 0.001 to 1000, mm" (fun v -> v >= 1e-3 && v <= 1e3)

    /// A voxel spacing along x, y, z, mm.
    let spacing: Codec<float * float * float> = Codec.triple millimetres

    /// The thresholds of the verdict; what is not said is as without a model.
    let thresholds: Codec<VerdictThresholds> =
        let standard = VerdictThresholds.Standard

        VerdictThresholds.Keys
        |> List.ofSeq
        |> List.map (fun key ->
            optional key.Name Codec.notNegative (key.Get.Invoke standard) key.Get.Invoke
            |> Fields.map (fun value known -> key.Set.Invoke(known, value)))
        |> List.reduce (fun first second -> Fields.both first second |> Fields.map (fun (f, g) -> f >> g))
        |> Fields.map (fun set -> set standard)
        |> Fields.seal
