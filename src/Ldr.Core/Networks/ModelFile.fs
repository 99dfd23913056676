namespace Ldr

open System.Collections.Generic
open System.IO
open System.Text.Json.Nodes
open FsToolkit.ErrorHandling
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Inference
open Ldr.Runtime.Registration.Quality

/// What a model reached on pairs of its test subjects that were drawn by a seed: the keys of `evaluate --json`.
type ModelFigures =
    {
        Pairs: int
        /// Of the pairs, and of the known fields.
        DrawSeed: int
        DiceBefore: float
        Dice: float
        DiceSd: float
        Hd95Mm: float
        Carried95Mm: float
        ExtremeLabelPercent: float
        ExtremeContentPercent: float
        VolumeErrorPercent: float
        FoldedPercent: float
        SdLogJ: float
        InverseMm: float option
        KnownFieldBeforeMm: float option
        KnownFieldMm: float option
    }

module ModelFigures =
    let private fields: Fields<ModelFigures, ModelFigures> =
        fields {
            let! pairs = required "pairs" Codec.positiveInt _.Pairs
            and! drawSeed = required "draw_seed" Codec.int _.DrawSeed
            and! diceBefore = required "dice_before" Codec.finite _.DiceBefore
            and! dice = required "dice" Codec.finite _.Dice
            and! diceSd = required "dice_sd" Codec.finite _.DiceSd
            and! hd95Mm = required "hd95_mm" Codec.finite _.Hd95Mm
            and! carried95Mm = required "carried95_mm" Codec.finite _.Carried95Mm

            and! extremeLabelPercent =
                required "extreme_label_percent" Codec.finite _.ExtremeLabelPercent

            and! extremeContentPercent =
                required "extreme_content_percent" Codec.finite _.ExtremeContentPercent

            and! volumeErrorPercent =
                required "volume_error_percent" Codec.finite _.VolumeErrorPercent

            and! foldedPercent = required "folded_percent" Codec.finite _.FoldedPercent
            and! sdLogJ = required "sdlogj" Codec.finite _.SdLogJ
            and! inverseMm = maybe "inverse_mm" Codec.finite _.InverseMm

            and! knownFieldBeforeMm =
                maybe "known_field_before_mm" Codec.finite _.KnownFieldBeforeMm

            and! knownFieldMm = maybe "known_field_mm" Codec.finite _.KnownFieldMm

            return
                {
                    Pairs = pairs
                    DrawSeed = drawSeed
                    DiceBefore = diceBefore
                    Dice = dice
                    DiceSd = diceSd
                    Hd95Mm = hd95Mm
                    Carried95Mm = carried95Mm
                    ExtremeLabelPercent = extremeLabelPercent
                    ExtremeContentPercent = extremeContentPercent
                    VolumeErrorPercent = volumeErrorPercent
                    FoldedPercent = foldedPercent
                    SdLogJ = sdLogJ
                    InverseMm = inverseMm
                    KnownFieldBeforeMm = knownFieldBeforeMm
                    KnownFieldMm = knownFieldMm
                }
        }

    let codec: Codec<ModelFigures> = Fields.seal fields

    /// From a `summary.json` of `evaluate`, which says more.
    let ofSummary: Codec<ModelFigures> = Fields.lenient fields

/// What a model file says about its network: how scans are prepared for it, and what it was trained on.
type ModelCard =
    {
        Architecture: Architecture
        Intensity: IntensityRule
        /// Voxel spacing of the training grid, mm.
        Spacing: float * float * float
        /// Size of the training grid, voxels.
        Size: int * int * int
        Alignment: Alignment
        /// The data set's name, and its licence, which the model inherits.
        Data: string
        Licence: string
        /// Names of the subjects used for training, validation and test.
        Train: string list
        Validation: string list
        Test: string list
        /// Labels that are left out of scores.
        IgnoredLabels: int list
        /// Steps of training, and the SHA-256 of the experiment as it was resolved.
        Steps: int
        Experiment: string
        /// What else a user should know, in words: figures, how it was trained, what it is not for.
        Notes: string list
        /// The model's own thresholds of the verdict, chosen on pairs of its data; nothing: those of registration without a model.
        Verdict: VerdictThresholds option
        /// What it reaches, measured on the file that is passed on; a test measures those of the fewest pairs again.
        Figures: ModelFigures list
    }

module ModelCard =
    /// The card of a network that has learnt nothing: for timings and tests.
    let untrained (architecture: Architecture) : ModelCard =
        {
            Architecture = architecture
            Intensity = IntensityRule.Percentiles(0.5, 99.5)
            Spacing = 1.0, 1.0, 1.0
            Size = 16, 16, 16
            Alignment = Alignment.World
            Data = "none"
            Licence = "MIT"
            Train = []
            Validation = []
            Test = []
            IgnoredLabels = []
            Steps = 0
            Experiment = ""
            Notes = []
            Verdict = None
            Figures = []
        }

    let codec: Codec<ModelCard> =
        codec {
            let! architecture = required "architecture" Architecture.ofModelFile _.Architecture
            and! intensity = required "intensity" RuntimeCodecs.intensity _.Intensity
            and! spacing = required "spacing" RuntimeCodecs.spacing _.Spacing
            and! size = required "size" RuntimeCodecs.gridSize _.Size
            and! alignment = required "alignment" RuntimeCodecs.alignment _.Alignment
            and! data = required "data" Codec.string _.Data
            and! licence = required "licence" Codec.string _.Licence
            and! train = required "train" (Codec.list Codec.string) _.Train
            and! validation = required "validation" (Codec.list Codec.string) _.Validation
            and! test = required "test" (Codec.list Codec.string) _.Test
            and! ignoredLabels = required "ignored_labels" (Codec.list Codec.int) _.IgnoredLabels
            and! steps = required "steps" Codec.countingInt _.Steps
            and! experiment = required "experiment" Codec.string _.Experiment
            and! notes = optional "notes" (Codec.list Codec.string) [] _.Notes
            and! verdict = maybe "verdict" RuntimeCodecs.thresholds _.Verdict
            and! figures = optional "figures" (Codec.list ModelFigures.codec) [] _.Figures

            return
                {
                    Architecture = architecture
                    Intensity = intensity
                    Spacing = spacing
                    Size = size
                    Alignment = alignment
                    Data = data
                    Licence = licence
                    Train = train
                    Validation = validation
                    Test = test
                    IgnoredLabels = ignoredLabels
                    Steps = steps
                    Experiment = experiment
                    Notes = notes
                    Verdict = verdict
                    Figures = figures
                }
        }

/// A network with its card.
[<NoEquality; NoComparison>]
type Model = { Card: ModelCard; Network: Network }

/// Models as `.safetensors` files: the parameters by name, the card in the metadata (each entry JSON).
module ModelFile =
    let private formatKey = "format"
    let private format = "ldr-model-1"

    /// The parameters of a module as tensors of a file, named `prefix` + parameter name.
    let tensors (prefix: string) (parameters: seq<struct (string * torch.Tensor)>) : SafeTensor list =
        [
            for struct (name, parameter) in parameters do
                SafeTensor.FromFloats(prefix + name, parameter.shape, Bridge.toArray parameter)
        ]

    /// Names and tensors of a module's parameters.
    let parameters (network: torch.nn.Module) : seq<struct (string * torch.Tensor)> =
        seq { for struct (name, p) in network.named_parameters () -> struct (name, p :> torch.Tensor) }

    let private bad path problem : Result<'a, Error> =
        Error(BadFile(path, problem, "choose a model file that this version of ldr-fs wrote"))

    let private show (shape: int64[]) =
        shape |> Array.map string |> String.concat "×"

    /// Compares the tensors of a file whose names start with `prefix` with the names and shapes that they should have; a
    /// missing, superfluous or misshapen one, and one of whole numbers, is bad input.
    let private check
        (path: string)
        (prefix: string)
        (wanted: (string * int64[]) seq)
        (file: SafetensorsFile)
        : Result<unit, Error> =
        let held =
            file.Tensors
            |> Seq.filter (fun t -> t.Name.StartsWith(prefix, System.StringComparison.Ordinal))
            |> Seq.map (fun t -> KeyValuePair(t.Name, t))
            |> Dictionary

        let checkOne (name: string, shape: int64[]) =
            match held.TryGetValue(prefix + name) with
            | true, tensor ->
                held.Remove tensor.Name |> ignore

                if tensor.Shape <> shape then
                    bad
                        path
                        $"tensor \"{tensor.Name}\" is {show tensor.Shape}, its architecture needs {show shape}"
                elif not tensor.IsFloatingPoint then
                    bad path $"tensor \"{tensor.Name}\" holds {tensor.DType}, not floating-point numbers"
                else
                    Ok()
            | _ -> bad path $"tensor \"{prefix + name}\" is missing, which its architecture needs"

        result {
            for tensor in wanted do
                do! checkOne tensor

            match Seq.tryHead held.Keys with
            | Some name -> return! bad path $"tensor \"{name}\" does not belong to its architecture"
            | None -> return ()
        }

    /// Copies tensors of a file into tensors of the same names; what does not fit is bad input, and then nothing is copied.
    let restore
        (path: string)
        (prefix: string)
        (targets: seq<struct (string * torch.Tensor)>)
        (file: SafetensorsFile)
        : Result<unit, Error> =
        let targets = List.ofSeq targets

        check path prefix (seq { for struct (name, target) in targets -> name, target.shape }) file
        |> Result.map (fun () ->
            use _ = torch.no_grad ()
            let held = file.Tensors |> Seq.map (fun t -> KeyValuePair(t.Name, t)) |> Dictionary

            for struct (name, target) in targets do
                use values = Bridge.toTensor torch.CPU target.shape (held[prefix + name].ToFloats())

                target.copy_ values |> ignore)

    let private writeTensors (path: string) (card: ModelCard) (tensors: SafeTensor list) =
        let metadata = Dictionary<string, string>()
        metadata[formatKey] <- format

        for property in (ModelCard.codec.Encode card).AsObject() do
            metadata[property.Key] <- (nonNull property.Value).ToJsonString()

        Safetensors.Write(path, metadata, Array.ofList tensors)

    /// Writes a model, atomically.
    let write (path: string) (model: Model) =
        writeTensors path model.Card (tensors "" (parameters model.Network))

    let private cardOf (path: string) (file: SafetensorsFile) : Result<ModelCard, Error> =
        match file.Metadata.TryGetValue formatKey with
        | true, found when found = format ->
            let parts = JsonObject()

            try
                for entry in file.Metadata do
                    if entry.Key <> formatKey then
                        parts.Add(entry.Key, JsonNode.Parse entry.Value)

                Codec.ofText path ModelCard.codec (parts.ToJsonString())
            with
            | :? System.Text.Json.JsonException
            // Keys that are there twice, or texts that are no UTF-16.
            | :? System.ArgumentException
            | :? System.InvalidOperationException ->
                Error(BadFile(path, "its metadata are damaged", "choose another copy of the model"))
        | true, found ->
            Error(BadFile(path, $"its format is \"{found}\"", $"choose a model of format {format}"))
        | _ ->
            Error(
                BadFile(
                    path,
                    "is not a model of ldr-fs",
                    "choose a .safetensors file that `ldr-fs train` wrote"
                )
            )

    /// Writes the parameters of a network alone, atomically: one of one's own layers, say, of which no card can tell.
    let writeWeights (path: string) (network: torch.nn.Module) =
        Safetensors.Write(path, Dictionary<string, string>(), Array.ofList (tensors "" (parameters network)))

    /// Reads parameters into a network of the same layers; what does not fit is bad input, and then nothing is read.
    let readWeights (path: string) (network: torch.nn.Module) : Result<unit, Error> =
        Error.guardResult (fun () -> restore path "" (parameters network) (Safetensors.Read path))

    /// The card, and the file's tensors: their names and shapes are those of the card's architecture. No network is made,
    /// so that a card cannot ask for more memory than the file has tensors.
    let inspect (path: string) : Result<ModelCard * SafetensorsFile, Error> =
        Error.guardResult (fun () ->
            result {
                let file = Safetensors.Read path
                let! card = cardOf path file
                do! check path "" (Network.shapes card.Architecture) file
                return card, file
            })

    let private inHalfPrecision (source: string) (tensor: SafeTensor) : Result<SafeTensor, Error> =
        let values = tensor.ToFloats()

        let isBeyond (value: float32) =
            not (System.Half.IsFinite(System.Half.op_Explicit value: System.Half))

        if Array.exists isBeyond values then
            bad source $"tensor \"{tensor.Name}\" has a number beyond half precision"
        else
            Ok(SafeTensor.FromFloats(tensor.Name, tensor.Shape, System.ReadOnlySpan values, true))

    /// Writes a copy of a model in half precision (IEEE binary16, half the size), with notes on its card.
    let ship
        (notes: string list)
        (verdict: VerdictThresholds option)
        (figures: ModelFigures list)
        (source: string)
        (target: string)
        : Result<unit, Error> =
        Error.guardResult (fun () ->
            result {
                let! card, file = inspect source

                let! tensors =
                    file.Tensors |> List.ofSeq |> List.traverseResultM (inHalfPrecision source)

                let card =
                    { card with
                        Notes = card.Notes @ notes
                        Verdict = verdict |> Option.orElse card.Verdict
                        Figures = if figures.IsEmpty then card.Figures else figures
                    }

                writeTensors target card tensors
            })

    /// Reads a model: the card first, then every tensor, checked against what the architecture needs.
    let read (path: string) : Result<Model, Error> =
        result {
            let! card, file = inspect path
            let network = Network.create (Seed.ofInt 0) card.Architecture

            match Error.guardResult (fun () -> restore path "" (parameters network) file) with
            | Ok() ->
                network.eval ()
                return { Card = card; Network = network }
            | Error error ->
                network.Dispose()
                return! Error error
        }

    /// Reads a model onto a device.
    let readTo (device: torch.Device) (path: string) : Result<Model, Error> =
        read path
        |> Result.map (fun model ->
            model.Network.``to`` device |> ignore
            model)

    /// A model's parameters, and its multiplications with addition for one pair of its training grid's size. The network is not
    /// made.
    let sizeOf (card: ModelCard) : int64 * float =
        let x, y, z = card.Size

        let parameters =
            Network.shapes card.Architecture
            |> List.sumBy (fun (_, shape) -> Array.reduce (*) shape)

        parameters, Network.macs card.Architecture (z, y, x)

    /// The names of models that are known by one, in alphabetical order.
    let shipped () : string list =
        [ for struct (name, _) in ModelShelf.All() -> name ]

    /// Whether a name is that of a shipped model, and of no file or folder here.
    let isShipped (name: string) =
        not (File.Exists name) && not (isNull (ModelShelf.Find name))

    /// The file that is meant by a path of a model, by the folder of a finished run, or by the NAME of a shipped model.
    let resolve (nameOrPath: string) : Result<string, Error> =
        let ofRun = Path.Combine(nameOrPath, "model.safetensors")

        if File.Exists nameOrPath then
            Ok nameOrPath
        elif File.Exists ofRun then
            Ok ofRun
        elif File.Exists(Path.Combine(nameOrPath, "experiment.json")) then
            Error(
                BadFile(
                    nameOrPath,
                    "is a run that is not finished",
                    "go on with it by ldr-fs train EXPERIMENT --resume"
                )
            )
        else
            match ModelShelf.Find nameOrPath with
            | NonNull file -> Ok file
            | Null ->
                let hint =
                    match shipped () with
                    | [] -> ""
                    | names -> $", or the name of a model ({Suggestion.among names nameOrPath})"

                Error(
                    BadFile(
                        nameOrPath,
                        "no such model",
                        "give a .safetensors file that `ldr-fs train` wrote, the folder of a run" + hint
                    )
                )
