namespace Ldr

/// The channels of the paper's student: after each of its four convolutions, and after each of its three transposed ones.
type StudentWidths =
    { Encoder: int list; Decoder: int list }

module StudentWidths =
    /// `ldr`: the published encoder 16-32-64-128. The decoder's widths are not published; with 128-64-32 the network has 2.73 M
    /// parameters, the published tenth of VTN.
    let published =
        {
            Encoder = [ 16; 32; 64; 128 ]
            Decoder = [ 128; 64; 32 ]
        }

    /// `ldr-slim`: the same encoder with 64-32-16 (1.55 M parameters, an eighteenth of VTN). Also those of `ldr-half` and
    /// `ldr-velocity`.
    let slim =
        { published with
            Decoder = [ 64; 32; 16 ]
        }

/// The size of a Volume Tweening Network: how often it halves its input, and the channels of its first convolution.
type VtnScale = { Levels: int; Channels: int }

module VtnScale =
    /// Six levels, 16 channels, as published (28.3 M parameters).
    let standard = { Levels = 6; Channels = 16 }

/// A network that predicts an affine map; `channels` are those of its first convolution.
type AffineStem =
    /// VTN's (14.2 M parameters with 16 channels).
    | Affine of channels: int
    /// The student's own (0.33 M parameters with 16 channels).
    | AffineLight of channels: int

/// A network that predicts one displacement field.
[<RequireQualifiedAccess>]
type Stage =
    /// The student: an up-convolution gives the field at full size.
    | Ldr of StudentWidths
    /// The student with the field predicted at half size.
    | LdrHalf of StudentWidths
    /// The student with a stationary velocity field predicted at half size, whose flow over unit time is the field: smooth
    /// deformations without folds.
    | LdrVelocity of StudentWidths
    /// What the authors' released code calls LDR.
    | LdrReference
    | Vtn of VtnScale
    | VoxelMorph

/// An affine stage, if any, and then `Stages` networks of one kind, each with its own weights; each sees the fixed image and
/// what the ones before made of the moving one.
type Cascade =
    {
        Affine: AffineStem option
        Stages: int
        Stage: Stage
    }

/// Which network it is: with a seed, all that is needed to make one.
[<RequireQualifiedAccess>]
type Architecture =
    | Single of Stage
    | Cascade of Cascade

module Architecture =
    // Model files come from anywhere: an upper bound keeps a wrong one from taking all memory.
    let private width =
        Codec.int
        |> Codec.where "a whole number from 1 to 1024" (fun v -> v >= 1 && v <= 1024)

    let private channels =
        Codec.int
        |> Codec.where "a whole number from 1 to 64" (fun v -> v >= 1 && v <= 64)

    let private widths count =
        Codec.list width
        |> Codec.where $"a list of {count} widths" (fun l -> List.length l = count)

    let private student (standard: StudentWidths) =
        fields {
            let! encoder = optional "encoder" (widths 4) standard.Encoder _.Encoder
            and! decoder = optional "decoder" (widths 3) standard.Decoder _.Decoder

            return { Encoder = encoder; Decoder = decoder }
        }

    let private scale =
        fields {
            let! levels =
                optional
                    "levels"
                    (Codec.int
                     |> Codec.where "a whole number from 2 to 7" (fun v -> v >= 2 && v <= 7))
                    VtnScale.standard.Levels
                    _.Levels

            and! channels = optional "channels" channels VtnScale.standard.Channels _.Channels

            return { Levels = levels; Channels = channels }
        }

    /// `ldr` are the widths of an `ldr` that does not say them.
    let private stageCases
        (ldr: StudentWidths)
        (wrap: Stage -> 'u)
        (unwrap: 'u -> Stage option)
        : UnionCase<'u> list =
        let case word fields make pick =
            Union.case word fields (make >> wrap) (unwrap >> Option.bind pick)

        let bare word stage =
            case word Fields.none (fun () -> stage) (fun s -> if s = stage then Some() else None)

        [
            case "ldr" (student ldr) Stage.Ldr (function
                | Stage.Ldr w -> Some w
                | _ -> None)
            // Another word for an `ldr`; it is written as that, with its widths.
            case "ldr-slim" (student StudentWidths.slim) Stage.Ldr (fun _ -> None)
            case "ldr-half" (student StudentWidths.slim) Stage.LdrHalf (function
                | Stage.LdrHalf w -> Some w
                | _ -> None)
            case "ldr-velocity" (student StudentWidths.slim) Stage.LdrVelocity (function
                | Stage.LdrVelocity w -> Some w
                | _ -> None)
            bare "ldr-reference" Stage.LdrReference
            case "vtn" scale Stage.Vtn (function
                | Stage.Vtn s -> Some s
                | _ -> None)
            bare "voxelmorph" Stage.VoxelMorph
        ]

    let private stageCodec (ldr: StudentWidths) : Codec<Stage> =
        Union.codec "kind" (stageCases ldr id Some)

    let private stemCodec: Codec<AffineStem> =
        let channels = optional "channels" channels 16 id

        Union.codec
            "kind"
            [
                Union.case "affine" channels Affine (function
                    | Affine c -> Some c
                    | _ -> None)
                Union.case "affine-light" channels AffineLight (function
                    | AffineLight c -> Some c
                    | _ -> None)
            ]

    let private cascade (ldr: StudentWidths) =
        fields {
            let! affine = maybe "affine" stemCodec _.Affine

            and! stages =
                required
                    "stages"
                    (Codec.int
                     |> Codec.where "a whole number from 0 to 20" (fun v -> v >= 0 && v <= 20))
                    _.Stages

            and! stage = optional "stage" (stageCodec ldr) (Stage.Ldr ldr) _.Stage

            return
                {
                    Affine = affine
                    Stages = stages
                    Stage = stage
                }
        }

    let private codecOf (ldr: StudentWidths) : Codec<Architecture> =
        let single =
            stageCases ldr Architecture.Single (function
                | Architecture.Single s -> Some s
                | Architecture.Cascade _ -> None)

        let several =
            Union.case "cascade" (cascade ldr) Architecture.Cascade (function
                | Architecture.Cascade c -> Some c
                | Architecture.Single _ -> None)

        Union.codec "kind" (single @ [ several ])
        |> Codec.where "a cascade with an affine stage, or with at least one stage" (function
            | Architecture.Cascade { Affine = None; Stages = 0 } -> false
            | _ -> true)

    /// As JSON: `kind` is `ldr`, `ldr-slim`, `ldr-half`, `ldr-velocity` (with `encoder`, `decoder`), `ldr-reference`, `vtn` (`levels`,
    /// `channels`), `voxelmorph` or `cascade` (`affine`: absent, `affine` or `affine-light`; `stages`; `stage`, one of the others).
    let codec: Codec<Architecture> = codecOf StudentWidths.published

    /// The same in a model's file: an `ldr` that does not say its decoder is from the time when that was 64-32-16.
    let ofModelFile: Codec<Architecture> = codecOf StudentWidths.slim

    /// Every architecture as a cascade: a single network is one stage without an affine one.
    let asCascade architecture : Cascade =
        match architecture with
        | Architecture.Single stage ->
            {
                Affine = None
                Stages = 1
                Stage = stage
            }
        | Architecture.Cascade cascade -> cascade

    let private dashed (widths: int list) =
        widths |> List.map string |> String.concat "-"

    let private describeStage stage =
        let channels w =
            $"{dashed w.Encoder}, then {dashed w.Decoder}"

        match stage with
        | Stage.Ldr w -> $"ldr ({channels w})"
        | Stage.LdrHalf w -> $"ldr-half ({channels w})"
        | Stage.LdrVelocity w -> $"ldr-velocity ({channels w})"
        | Stage.LdrReference -> "ldr-reference"
        | Stage.Vtn s -> $"vtn ({s.Levels} levels, {s.Channels} channels)"
        | Stage.VoxelMorph -> "voxelmorph"

    /// One line for people, such as `affine-light (16 channels) + 2 × ldr (16-32-64-128, then 64-32-16)`.
    let describe architecture =
        match architecture with
        | Architecture.Single stage -> describeStage stage
        | Architecture.Cascade cascade ->
            [
                match cascade.Affine with
                | Some(Affine c) -> $"affine ({c} channels)"
                | Some(AffineLight c) -> $"affine-light ({c} channels)"
                | None -> ()
                if cascade.Stages > 0 then
                    $"{cascade.Stages} × {describeStage cascade.Stage}"
            ]
            |> String.concat " + "

    /// The multiple to which every deformable stage pads its input, in voxels. (Affine stages take any size as it is.)
    let multiple architecture =
        match asCascade architecture with
        | { Stages = 0 } -> 1
        | { Stage = Stage.Vtn scale } -> pown 2 scale.Levels
        | _ -> 16
