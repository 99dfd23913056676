namespace Ldr

open System.Collections.Generic
open System.IO
open System.Text.Json.Nodes
open TorchSharp
open Ldr.Runtime

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
    }

module ModelCard =
    let codec: Codec<ModelCard> =
        Codec.record
            (fun
                architecture
                intensity
                spacing
                size
                alignment
                data
                licence
                train
                validation
                test
                ignored
                steps
                experiment ->
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
                    IgnoredLabels = ignored
                    Steps = steps
                    Experiment = experiment
                })
        |> Codec.required "architecture" Architecture.codec _.Architecture
        |> Codec.required "intensity" RuntimeCodecs.intensity _.Intensity
        |> Codec.required "spacing" (Codec.triple Codec.positive) _.Spacing
        |> Codec.required "size" (Codec.triple Codec.positiveInt) _.Size
        |> Codec.required "alignment" RuntimeCodecs.alignment _.Alignment
        |> Codec.required "data" Codec.string _.Data
        |> Codec.required "licence" Codec.string _.Licence
        |> Codec.required "train" (Codec.list Codec.string) _.Train
        |> Codec.required "validation" (Codec.list Codec.string) _.Validation
        |> Codec.required "test" (Codec.list Codec.string) _.Test
        |> Codec.required "ignored_labels" (Codec.list Codec.int) _.IgnoredLabels
        |> Codec.required "steps" Codec.countingInt _.Steps
        |> Codec.required "experiment" Codec.string _.Experiment
        |> Codec.seal

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

    /// Copies tensors of a file into tensors of the same names; a missing, superfluous or misshapen one is bad input.
    let restore
        (path: string)
        (prefix: string)
        (targets: seq<struct (string * torch.Tensor)>)
        (file: SafetensorsFile)
        =
        use _ = torch.no_grad ()

        let bad problem =
            raise (
                Error.Raised(BadFile(path, problem, "choose a model file that this version of ldr-fs wrote"))
            )

        let held =
            file.Tensors
            |> Seq.filter (fun t -> t.Name.StartsWith(prefix, System.StringComparison.Ordinal))
            |> Seq.map (fun t -> KeyValuePair(t.Name, t))
            |> Dictionary

        for struct (name, target) in targets do
            match held.TryGetValue(prefix + name) with
            | true, tensor ->
                held.Remove(prefix + name) |> ignore

                if tensor.Shape <> target.shape then
                    let shape (s: int64[]) =
                        s |> Array.map string |> String.concat "×"

                    bad
                        $"tensor \"{tensor.Name}\" is {shape tensor.Shape}, its architecture needs {shape target.shape}"

                use values = Bridge.toTensor torch.CPU target.shape (tensor.ToFloats())
                target.copy_ values |> ignore
            | _ -> bad $"tensor \"{prefix + name}\" is missing, which its architecture needs"

        for name in held.Keys do
            bad $"tensor \"{name}\" does not belong to its architecture"

    /// Writes a model, atomically.
    let write (path: string) (model: Model) =
        let metadata = Dictionary<string, string>()
        metadata[formatKey] <- format

        for property in (ModelCard.codec.Encode model.Card).AsObject() do
            metadata[property.Key] <- (nonNull property.Value).ToJsonString()

        Safetensors.Write(path, metadata, tensors "" (parameters model.Network) |> Array.ofList)

    let private cardOf (path: string) (file: SafetensorsFile) : Result<ModelCard, Error> =
        match file.Metadata.TryGetValue formatKey with
        | true, found when found = format ->
            let parts = JsonObject()

            try
                for entry in file.Metadata do
                    if entry.Key <> formatKey then
                        parts.Add(entry.Key, JsonNode.Parse entry.Value)

                Codec.ofText path ModelCard.codec (parts.ToJsonString())
            with :? System.Text.Json.JsonException ->
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

    /// The card alone, and the tensors' names and shapes, checked but not loaded into a network.
    let inspect (path: string) : Result<ModelCard * SafetensorsFile, Error> =
        Error.guard (fun () -> Safetensors.Read path)
        |> Result.bind (fun file -> cardOf path file |> Result.map (fun card -> card, file))

    /// Reads a model: the card first, then every tensor, checked against what the architecture needs.
    let read (path: string) : Result<Model, Error> =
        inspect path
        |> Result.bind (fun (card, file) ->
            Error.guard (fun () ->
                let network = Network.create (Seed.ofInt 0) card.Architecture

                try
                    restore path "" (parameters network) file
                with _ ->
                    network.Dispose()
                    reraise ()

                network.eval ()

                { Card = card; Network = network }))

    /// The file that is meant by a path of a model, by the folder of a finished run, or by the NAME of
    /// `models/NAME.safetensors`.
    let resolve (nameOrPath: string) : Result<string, Error> =
        let shipped = Path.Combine("models", nameOrPath + ".safetensors")
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
        elif File.Exists shipped then
            Ok shipped
        else
            Error(
                BadFile(
                    nameOrPath,
                    "no such model",
                    "give a .safetensors file that `ldr-fs train` wrote, or the folder of a run"
                )
            )
