/// `segment`: labels of scans from many atlases.
module Ldr.Cli.Verbs.Segment

open System
open System.Collections.Generic
open System.IO
open Argu
open FsToolkit.ErrorHandling
open Ldr
open Ldr.Cli
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.Runtime.Groups
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

type FusionName =
    | Majority
    | Weighted
    | Joint

type Arguments =
    | [<ExactlyOnce>] Atlases of source: string
    | [<ExactlyOnce>] Target of sources: string list
    | [<ExactlyOnce; AltCommandLine("-o")>] Output of path: string
    | [<Unique>] Nearest of count: int
    | [<Unique>] Fusion of FusionName
    | [<Unique>] Model of name: string
    | [<Unique>] Volumes of file: string
    | [<Unique>] Disagreement of file: string
    | [<Unique>] Probability of file: string
    | [<Unique>] Probabilities of folder: string
    | [<Unique>] Shard of part: string
    | [<Unique>] Force
    | [<Unique>] Threads of count: int
    | [<Unique>] Json
    | [<Unique>] Verbose

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Atlases _ -> $"scans with label maps: {ScanSource.usage}."
            | Target _ ->
                $"the scan to label; or many: several scans, {ScanSource.usage}. A target is not its own atlas."
            | Output _ ->
                "write its label map here (.nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr). Of many: the folder, with a folder of each scan in it and volumes.csv of all."
            | Nearest _ ->
                "register only so many atlases: those with the most mutual information after an affine alignment (default: all)."
            | Fusion _ ->
                "how labels become one: majority, weighted (by local similarity), or joint (default; joint label fusion, which takes account of errors that atlases share)."
            | Model _ -> "register by a model: its file, or its name in models/ (default: none)."
            | Volumes _ -> "write the volume of every structure here (.csv; mm³)."
            | Disagreement _ -> "write the share of the atlases that say otherwise here, an image of 0 to 1."
            | Probability _ -> "write the probability of the label that was chosen here, an image of 0 to 1."
            | Probabilities _ -> "write the probability of each label into this folder: label-N.nii.gz."
            | Shard _ ->
                "of many scans do this share, such as 3/8; each process gets another one. The folder is shared."
            | Force -> "of many scans label also those that are done."
            | Threads _ -> "threads to compute with (default: all cores)."
            | Json -> "print one JSON object to stdout."
            | Verbose -> "show where a fault happened."

type private Request =
    {
        Atlases: string
        Targets: string list
        Output: string
        Nearest: int option
        Fusion: FusionMethod
        Model: string option
        Volumes: string option
        Disagreement: string option
        Probability: string option
        Probabilities: string option
        Shard: CohortShard
        Force: bool
    }

/// The only scan, where its own file is named; else there are many, or a table that may have one line.
let private single (o: Request) : string option =
    match o.Targets with
    | [ file ] when ScanSource.isScan file -> Some file
    | _ -> None

let private checkOutputs (o: Request) (target: string) (atlases: TemplateScan list) =
    let images = o.Output :: List.choose id [ o.Disagreement; o.Probability ]

    let inputs =
        target
        :: (atlases
            |> List.collect (fun atlas -> atlas.Image :: Option.toList (Option.ofObj atlas.Labels)))

    OutputFiles.CheckApart(inputs, images @ Option.toList o.Volumes)
    images |> List.iter Outputs.checkImage
    images @ Option.toList o.Volumes |> List.iter AtomicFile.CheckWritable

/// The scans that have a label map.
let private atlases (o: Request) : Result<TemplateScan list, Error> =
    result {
        let! scans = ScanSource.read [ o.Atlases ]

        match scans |> List.filter (fun scan -> not (isNull scan.Labels)) with
        | [] ->
            return!
                Error(BadFile(o.Atlases, "has no label map", "give a table with the columns scan and labels"))
        | labelled -> return labelled
    }

/// The atlases but the target itself.
let private without
    (o: Request)
    (target: string)
    (atlases: TemplateScan list)
    : Result<TemplateScan list, Error> =
    let own = FileNode.RealPath target

    match atlases |> List.filter (fun scan -> FileNode.RealPath scan.Image <> own) with
    | [] -> Error(BadFile(o.Atlases, "holds no atlas but the target", "give labelled scans of others"))
    | others -> Ok others

let private progress (speaker: Speaker) : IProgress<SegmentationProgress> =
    { new IProgress<SegmentationProgress> with
        member _.Report now =
            let share =
                match now.Part with
                | "aligning" -> 0.3 * float now.Done / float now.Of
                | "registering" -> 0.3 + 0.6 * float now.Done / float now.Of
                | _ -> 0.9

            speaker.Progress.Change(share, $"{now.Part}: {now.Done} of {now.Of} atlases")
    }

let private write (o: Request) (fused: FusedLabels) (volumes: StructureVolume seq) =
    o.Disagreement |> Option.iter (fun file -> fused.Disagreement.Write file)

    o.Probability
    |> Option.iter (fun file -> fused.Probabilities.BestProbability().Write file)

    for folder in Option.toList o.Probabilities do
        Directory.CreateDirectory folder |> ignore

        for label in fused.Probabilities.Labels do
            fused.Probabilities.Of(label).Write(Path.Combine(folder, $"label-{label}.nii.gz"))

    o.Volumes |> Option.iter (fun file -> VolumeTable.Write(file, volumes))
    fused.Labels.Write o.Output

let private said (o: Request) (result: Segmentation) (volumes: StructureVolume list) : Said =
    let used =
        [
            for atlas in result.Atlases do
                if atlas.IsUsed then
                    atlas
        ]

    let failed =
        [
            for atlas in result.Atlases do
                if not (isNull atlas.Quality) && (nonNull atlas.Quality).Verdict = Verdict.Failed then
                    atlas.Name
        ]

    let present = volumes |> List.filter (fun volume -> volume.Voxels > 0L)

    { Said.lines
          [
              $"{o.Output}: {present.Length} structures from {used.Length} of {result.Atlases.Count} atlases"
          ]
          (Json.object
              [
                  "atlases", Json.texts [ for atlas in used -> atlas.Name ]
                  "output", Json.text o.Output
                  "volumes_mm3",
                  Json.object [ for volume in volumes -> string volume.Label, Json.number volume.Mm3 ]
                  "left_out", Json.texts failed
                  "verdict", Json.text (result.Verdict.Word())
              ]) with
        Remarks = [ for name in failed -> $"{name}: its registration failed" ]
        Code =
            if result.Verdict = Verdict.Failed then
                ExitCode.badRegistration
            else
                ExitCode.ok
    }

let private options (o: Request) (context: Context) : SegmentationOptions =
    SegmentationOptions(
        Nearest = Option.toNullable o.Nearest,
        Fusion = FusionOptions(Method = o.Fusion),
        Threads = (context.Threads |> Option.defaultValue 0)
    )

/// Labels one scan.
let private segment
    (o: Request)
    (context: Context)
    (target: Volume)
    (atlases: TemplateScan list)
    (registrar: Registrar)
    : Result<Said, Error> =
    Error.guard (fun () ->
        use stop = new Stopping()

        try
            let read =
                [|
                    for atlas in atlases -> Atlas.OfFiles(atlas.Name, atlas.Image, nonNull atlas.Labels)
                |]

            let result =
                AtlasSegmenter(registrar)
                    .Segment(target, read, options o context, progress context.Speaker, stop.Token)

            context.Speaker.Progress.Close()
            let volumes = List.ofSeq (result.Fused.Probabilities.Volumes())
            write o result.Fused volumes
            said o result volumes
        with :? OperationCanceledException ->
            Said.stopped "Stopped; nothing was written.")

/// Labels many scans, each into a folder of its own.
let private segmentAll
    (o: Request)
    (context: Context)
    (targets: TemplateScan list)
    (atlases: TemplateScan list)
    (settings: (string * string) list)
    (source: RegistrarSource)
    : Result<Said, Error> =
    Error.guard (fun () ->
        use stop = new Stopping()

        try
            let summary =
                AtlasCohort.Run(
                    Array.ofList targets,
                    Array.ofList atlases,
                    o.Output,
                    source.Make,
                    AtlasCohortOptions(
                        Segmentation = options o context,
                        Settings = Dictionary<string, string>(dict settings),
                        Shard = o.Shard,
                        Force = o.Force
                    ),
                    CohortSaid.progress "scans" context.Speaker,
                    stop.Token
                )

            context.Speaker.Progress.Close()
            let table = Path.Combine(o.Output, AtlasCohort.VolumesName)
            CohortSaid.said (CohortSaid.ofSummary "scans" ("volumes", table) summary)
        with :? OperationCanceledException ->
            context.Speaker.Progress.Close()
            Said.stopped "Stopped. What is done stays; the same command goes on.")

let private run (o: Request) (context: Context) : Result<Said, Error> =
    result {
        let! model = o.Model |> Option.traverseResult RegisterInputs.readModel
        let! atlases = atlases o

        match single o with
        | Some file ->
            let! others = without o file atlases
            do! Error.guard (fun () -> checkOutputs o file others)
            let! target = Error.guard (fun () -> ImageFile.Read file)

            return!
                match model with
                | None -> segment o context target others (new Registrar())
                | Some model ->
                    Engine.run context Automatic model.Path model.File (segment o context target others)
        | None ->
            let! targets = ScanSource.read o.Targets

            return!
                match model with
                | None ->
                    segmentAll
                        o
                        context
                        targets
                        atlases
                        [ "model", "none" ]
                        {
                            Make = fun _ -> new Registrar()
                            OneAtATime = false
                        }
                | Some model ->
                    let settings =
                        [ "model", o.Model.Value; "model_sha256", Checkpoint.digest model.Path ]

                    Engine.runMany
                        context
                        Automatic
                        model.Path
                        model.File
                        (segmentAll o context targets atlases settings)
    }

/// The text of --help beside the options.
let help: Help =
    {
        What = "Label scans by many atlases: scans with label maps."
        More =
            "Each atlas is registered to the scan; their labels are fused. Run again, it skips scans that are done."
        Groups =
            [
                "Inputs", [ "--atlases"; "--target" ]
                "Outputs",
                [
                    "--output"
                    "--volumes"
                    "--disagreement"
                    "--probability"
                    "--probabilities"
                ]
                "Labelling", [ "--nearest"; "--fusion"; "--model" ]
                "Many scans", [ "--shard"; "--force" ]
            ]
        Examples =
            [
                "ldr-fs segment --atlases atlases.csv --target scan.nii.gz --output labels.nii.gz"
                "ldr-fs segment --atlases atlases.csv --target scans.csv --output labelled"
            ]
    }

let parse (r: ParseResults<Arguments>) : Result<Call, string> =
    result {
        let! source = Usage.need "--atlases" (r.TryGetResult Atlases)
        let! targets = Usage.need "--target" (r.TryGetResult Target)
        let! output = Usage.need "--output" (r.TryGetResult Output)
        let nearest = r.TryGetResult Nearest

        do!
            Usage.refuseIf
                (nearest |> Option.exists (fun n -> n < 1))
                "--nearest: give a whole number above 0"

        let! shard = CohortArguments.shard (r.TryGetResult Shard)

        let request =
            {
                Atlases = source
                Targets = targets
                Output = output
                Nearest = nearest
                Fusion =
                    match r.GetResult(Fusion, Joint) with
                    | Majority -> FusionMethod.Majority
                    | Weighted -> FusionMethod.Weighted
                    | Joint -> FusionMethod.Joint
                Model = r.TryGetResult Model |> Option.filter ((<>) "none")
                Volumes = r.TryGetResult Volumes
                Disagreement = r.TryGetResult Disagreement
                Probability = r.TryGetResult Probability
                Probabilities = r.TryGetResult Probabilities
                Shard = shard
                Force = r.Contains Force
            }

        for option, file in
            [
                "--volumes", request.Volumes
                "--disagreement", request.Disagreement
                "--probability", request.Probability
                "--probabilities", request.Probabilities
            ] do
            do!
                Usage.refuseIf
                    (file.IsSome && (single request).IsNone)
                    $"{option}: is for one scan; of many, --output holds these files of each"

        do!
            Usage.refuseIf
                ((request.Force || r.Contains Shard) && (single request).IsSome)
                "--shard and --force: are for many scans"

        return!
            Call.create
                { CommonOptions.plain (r.Contains Json) (r.Contains Verbose) with
                    Threads = r.TryGetResult Threads
                }
                (run request)
    }
