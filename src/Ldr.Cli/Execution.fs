/// Carries out a request.
module Ldr.Cli.Execution

open System
open System.Globalization
open System.IO
open System.Runtime.InteropServices
open System.Text.Json.Nodes
open System.Threading
open TorchSharp
open Ldr
open Ldr.Runtime

let private printJson (node: JsonNode) = printfn "%s" (node.ToJsonString())

let private object (pairs: (string * (JsonNode | null)) list) : JsonNode =
    let node = JsonObject()

    for key, value in pairs do
        node.Add(key, value)

    node

let private text (value: string) : JsonNode =
    nonNull (JsonValue.Create value) :> JsonNode

let private number = Codec.rounded
let private fixedPoint = Scores.fixedPoint

/// The device, checked; torch's threads set.
let private compute (request: Request) : Result<torch.Device, Error> =
    request.Threads |> Option.iter torch.set_num_threads

    if not request.Cuda then
        Ok torch.CPU
    elif torch.cuda.is_available () then
        Ok torch.CUDA
    else
        Error(
            BadInput
                "--device cuda: no CUDA device can be used here; build with LDR_CUDA=true on a machine with one, or leave the option out"
        )

/// Most memory that this process has held so far, MB.
let private peakMegabytes () =
    use own = System.Diagnostics.Process.GetCurrentProcess()
    float own.PeakWorkingSet64 / 1e6

/// Runs an action with what registers pairs: the managed engine where it runs the model's network (unless libtorch was
/// asked for), and libtorch, which is not even loaded otherwise.
let private withEngine
    (request: Request)
    (choice: EngineChoice)
    (path: string)
    (file: SafetensorsFile)
    (action: (Alignment option -> Volume -> Volume -> Registered) -> Result<'r, Error>)
    : Result<'r, Error> =
    let byTorch () =
        compute request
        |> Result.bind (fun device ->
            ModelFile.read path
            |> Result.bind (fun model ->
                model.Network.``to`` device |> ignore
                action (Registration.run device model)))

    let kind =
        match StudentModel.Supports file.Metadata with
        | true, _ -> None
        | false, kind -> Some kind

    match choice, kind with
    | TorchEngine, _ -> byTorch ()
    | Automatic, Some kind ->
        if request.Verbose then
            eprintfn "The managed engine does not run %s: libtorch computes." kind

        byTorch ()
    | _ ->
        Error.guard (fun () -> StudentModel.Load(file, path))
        |> Result.bind (fun model ->
            use registrar = new Registrar(model, request.Threads |> Option.defaultValue 0)
            action (Registration.managed registrar))

/// What begins, as a line on stderr, but not beside JSON.
let private say (request: Request) (what: string) =
    if not request.Json then
        eprintfn "%s" what

let private verdictWord verdict =
    match verdict with
    | Verdict.Ok -> "ok"
    | Verdict.Look -> "look"
    | _ -> "failed"

/// Reads the files of a pair: --volume is for those that hold several volumes, and one of them must.
let private volumeReader (r: RegisterOptions) : string -> Volume =
    match r.Volume with
    | None -> fun path -> ImageFile.Read path
    | Some index ->
        let holdsSeveral path = ImageFile.CountVolumes path > 1L
        let files = r.Fixed :: r.Moving :: (r.Labels |> Option.map fst |> Option.toList)

        if not (files |> List.exists holdsSeveral) then
            raise (
                Error.Raised(BadInput $"--volume {index}: each file holds one volume; leave the option out")
            )

        fun path ->
            if holdsSeveral path then
                ImageFile.Read(path, index)
            else
                ImageFile.Read path

/// What is done with the pair beside the network: files read, sizes checked.
let private pairOptions
    (request: Request)
    (r: RegisterOptions)
    (card: ModelCard option)
    (fixedScan: Volume)
    (moving: Volume)
    =
    let mask (scan: Volume) (scanName: string) (file: string option) =
        file
        |> Option.map (fun file ->
            let mask = ImageFile.Read file

            if not (mask.Grid.SameAs scan.Grid) then
                raise (
                    Error.Raised(
                        BadFile(file, $"lies on another grid than the {scanName} scan", "give its own mask")
                    )
                )

            if not (mask.Values |> Array.exists (fun v -> v > 0.0f)) then
                raise (Error.Raised(BadFile(file, "is empty", "mark what counts with numbers above 0")))

            mask)

    let fixedMask = mask fixedScan "fixed" r.FixedMask
    let movingMask = mask moving "moving" r.MovingMask

    let read file =
        TransformStore.read (Some fixedScan.Grid) (Some moving.Grid) file

    let start, startField =
        match r.Init |> Option.map (fun file -> file, read file) with
        | None -> None, None
        | Some(_, (:? Transform.Linear as linear)) -> Some linear.World, None
        | Some(file, transform) ->
            match r.Model, r.Affine with
            | None, (KeepWhereItHelps | Header _) -> None, Some(transform.ToField fixedScan.Grid)
            | _ ->
                raise (
                    Error.Raised(
                        BadFile(
                            file,
                            "holds a displacement field",
                            "give an affine map to --init, or add --model none and leave --affine out"
                        )
                    )
                )

    let steps =
        match r.Refine, r.BudgetSeconds, r.Model with
        | Some 0, _, _ -> None
        | Some steps, _, _ -> Some steps
        | None, Some _, _
        | None, None, None -> Some(RefinementOptions().Steps)
        | None, None, Some _ -> None

    {
        Prealignment =
            match r.Affine with
            | _ when startField.IsSome -> ByHeader None
            // What a model that aligns would do by itself, with the masks.
            | Header None when
                (fixedMask.IsSome || movingMask.IsSome)
                && card |> Option.exists (fun card -> card.Alignment = Alignment.Affine)
                ->
                Optimised AffineFreedom.Full
            | Header alignment -> ByHeader alignment
            | Optimise freedom -> Optimised freedom
            | KeepWhereItHelps -> WhereItHelps
            | FromFile file ->
                match read file with
                | :? Transform.Linear as linear -> Given linear.World
                | _ ->
                    raise (
                        Error.Raised(
                            BadFile(
                                file,
                                "is no affine map",
                                "give auto, none, centres, rigid, full, or an affine map's file"
                            )
                        )
                    )
        Start = start
        StartField = startField
        Refinement =
            steps
            |> Option.map (fun steps ->
                RefinementOptions(
                    Steps = steps,
                    ControlSpacingMm = Option.toNullable r.ControlSpacingMm,
                    LogJacobian = Option.defaultValue 0.0 r.LogJacobian,
                    Budget = (r.BudgetSeconds |> Option.map TimeSpan.FromSeconds |> Option.toNullable),
                    FixedMask = Option.toObj fixedMask,
                    MovingMask = Option.toObj movingMask,
                    Progress =
                        (if request.Json then
                             null
                         else
                             // The similarity of one level says nothing of another's.
                             Action<int, int, float>(fun level step _ ->
                                 if step = 0 then
                                     eprintfn "refining, level %d" level))
                ))
        FixedMask = fixedMask
        MovingMask = movingMask
        Diffeomorphic = r.Diffeomorphic
        Say = say request
    }

/// How well the structures of two label maps agree after the initial alignment alone, and in the end.
let private labelScores
    (fixedScan: Volume)
    (moving: Volume)
    (fixedLabels: Volume option)
    (movingLabels: Volume option)
    (fixedMask: Volume option)
    (registered: Registered)
    : (PairScore * PairScore) option =
    match fixedLabels, movingLabels with
    | Some _, Some _ ->
        let scan name image labels mask =
            {
                Name = name
                Image = image
                Labels = labels
                Points = None
                Mask = mask
            }

        let score field =
            Scores.ofPair
                []
                true
                (scan "fixed" fixedScan fixedLabels fixedMask)
                (scan "moving" moving movingLabels None)
                field
                0.0

        let start = (DisplacementField.Zero fixedScan.Grid).After registered.Initial
        Some(score start, score registered.Field)
    | _ -> None

let private overlapNode (before: PairScore, after: PairScore) : JsonNode =
    object
        [
            "dice_before", number before.Dice
            "dice", number after.Dice
            "hd95_before_mm", number before.Hd95Mm
            "hd95_mm", number after.Hd95Mm
            "carried95_before_mm", number before.Carried95Mm
            "carried95_mm", number after.Carried95Mm
            "extreme_label_percent", number after.ExtremeLabelPercent
            "volume_error_percent", number after.VolumeErrorPercent
            "per_label",
            JsonArray(
                List.map2
                    (fun (b: LabelScore) (a: LabelScore) ->
                        object
                            [
                                "label", JsonValue.Create a.Label
                                "dice_before", number b.Dice
                                "dice", number a.Dice
                                "hd95_before_mm", number b.Hd95Mm
                                "hd95_mm", number a.Hd95Mm
                                "carried95_mm", number a.Carried95Mm
                                "median_jacobian", number a.MedianJacobian
                                "volume_ratio", number a.VolumeRatio
                                "extreme_percent", number a.ExtremePercent
                            ])
                    before.PerLabel
                    after.PerLabel
                |> Array.ofList
            )
        ]

let private register (request: Request) (r: RegisterOptions) =
    let transforms = List.choose id [ r.Transform; r.InverseTransform ]
    let images = List.choose id [ r.Moved; r.Labels |> Option.bind snd ]

    // Cheap checks first: everything that can be refused is refused before the model is loaded.
    let inputs () =
        Outputs.checkDistinct
            (r.Fixed
             :: r.Moving
             :: List.choose
                 id
                 [
                     r.Labels |> Option.map fst
                     r.FixedLabels
                     r.Model
                     r.Init
                     (match r.Affine with
                      | FromFile file -> Some file
                      | _ -> None)
                     r.FixedMask
                     r.MovingMask
                 ])
            (transforms @ images @ Option.toList r.Report)

        r.Report |> Option.iter Outputs.checkPage

        for path in images do
            Outputs.checkImage path

        for path in transforms do
            if r.IsAlignmentOnly then
                Outputs.checkTransform path
            else
                Outputs.checkDeformation path

        let modelFile =
            r.Model
            |> Option.map (fun name ->
                let file = ModelFile.resolve name |> Error.orRaise
                let card, content = ModelFile.inspect file |> Error.orRaise
                (file, content), card)

        // A line before a refusal is worth it only where reading takes its time.
        if
            [ r.Fixed; r.Moving ]
            |> List.exists (fun f -> File.Exists f && FileInfo(f).Length > 20_000_000L)
        then
            say request "reading the scans"

        let read = volumeReader r
        let fixedScan, moving = read r.Fixed, read r.Moving

        modelFile
        |> Option.iter (fun (_, card) -> Registration.grid card r.Fixed fixedScan.Grid |> ignore)

        let labelsOf (scan: Volume) name file =
            let labels = read file

            if not (labels.Grid.SameAs scan.Grid) then
                raise (
                    Error.Raised(
                        BadFile(
                            file,
                            $"lies on another grid than the {name} scan",
                            "give the label map that belongs to it"
                        )
                    )
                )

            LabelMap.check file labels
            labels

        let labels = r.Labels |> Option.map (fst >> labelsOf moving "moving")
        let fixedLabels = r.FixedLabels |> Option.map (labelsOf fixedScan "fixed")

        modelFile,
        fixedScan,
        moving,
        labels,
        fixedLabels,
        pairOptions request r (Option.map snd modelFile) fixedScan moving

    let withNetwork model action =
        match model with
        | None -> action None
        | Some((path, file), _) ->
            withEngine request r.Engine path file (fun registering -> action (Some registering))

    Error.guard inputs
    |> Result.bind (fun (model, fixedScan, moving, labels, fixedLabels, options) ->
        withNetwork model (fun network ->
            Error.guard (fun () ->
                let result = PairRegistration.run network options fixedScan moving
                let registered = result.Registered

                say request "checking the result"

                let quality =
                    Registration.quality
                        (Option.map snd model)
                        options.FixedMask
                        fixedScan
                        moving
                        registered

                let word, reasons = verdictWord quality.Verdict, List.ofSeq quality.Reasons

                let overlap =
                    labelScores fixedScan moving fixedLabels labels options.FixedMask registered

                say request "writing"
                r.Moved |> Option.iter (fun file -> ImageFile.Write(file, registered.Moved))

                let whole =
                    Transform.Compose(
                        Transform.Linear registered.Initial,
                        Transform.Dense registered.Deformation
                    )

                r.Transform
                |> Option.iter (fun file ->
                    if TransformFile.IsAffineName file then
                        TransformStore.write None false file (Transform.Linear registered.Initial)
                    elif TransformStore.isCompositeName file then
                        TransformStore.write None false file whole
                    else
                        TransformStore.write None false file (Transform.Dense registered.Field))

                let inverse =
                    r.InverseTransform
                    |> Option.map (fun file ->
                        let field = Transform.Dense(whole.Inverse().ToField moving.Grid)

                        if TransformFile.IsAffineName file then
                            let map = registered.Initial.Inverse()
                            TransformStore.write None false file (Transform.Linear map)
                        else
                            TransformStore.write None false file field

                        InverseConsistency.Measure(whole, field, moving.Grid))

                match labels, r.Labels with
                | Some map, Some(_, Some file) ->
                    ImageFile.Write(file, Warp.Nearest(map, registered.Field))
                | _ -> ()

                r.Report
                |> Option.iter (fun file ->
                    Report.write file request.CommandLine r fixedScan moving labels result word quality)

                if request.Json then
                    object
                        [
                            "moved", r.Moved |> Option.map text |> Option.toObj
                            "transform", r.Transform |> Option.map text |> Option.toObj
                            match r.Report with
                            | Some file -> "report", text file
                            | None -> ()
                            "similarity_before", number quality.SimilarityBefore
                            "similarity_after", number quality.SimilarityAfter
                            "folded_percent", number quality.Folding.FoldedPercent
                            "sdlogj", number quality.Folding.SdLogJ
                            "sdlogj_learn2reg", number quality.Folding.SdLogJLearn2Reg
                            "extreme_percent", number quality.Folding.ExtremePercent
                            "extreme_content_percent", number quality.ExtremeContentPercent
                            "mean_displacement_mm", number quality.MeanDisplacementMm
                            "max_displacement_mm", number quality.MaxDisplacementMm
                            "mean_deformation_mm", number quality.MeanDeformationMm
                            "max_deformation_mm", number quality.MaxDeformationMm
                            "detail_before", number quality.DetailBefore
                            "detail_after", number quality.DetailAfter
                            "inner_detail_before", number quality.InnerDetailBefore
                            "inner_detail_after", number quality.InnerDetailAfter
                            "half_detail_after", number quality.HalfDetailAfter
                            "content_percent", number quality.ContentPercent
                            "content_overlap_percent", number quality.ContentOverlapPercent
                            "content_mm", number quality.ContentMm
                            "volume_factor", number quality.VolumeFactor
                            "outside_training",
                            JsonArray(quality.OutsideTraining |> Seq.map text |> Array.ofSeq)
                            "overlap_percent", number quality.OverlapPercent
                            "outside_percent", number quality.OutsidePercent
                            "inverse_error_mean_mm", number quality.InverseError.MeanMm
                            "inverse_error_max_mm", number quality.InverseError.MaxMm
                            "check_milliseconds", number quality.Elapsed.TotalMilliseconds
                            "initial_alignment", text result.StartedBy
                            if model.IsSome then
                                "network_left_out", JsonValue.Create result.LeftAsTheyWere
                            "affine", JsonArray(registered.Initial.ToRows() |> Array.map number)
                            "milliseconds",
                            object
                                [
                                    "affine", number result.AffineMs
                                    "network", number registered.NetworkMs
                                    "refinement", number result.RefinementMs
                                    match result.Unfolded with
                                    | Some unfolded -> "diffeomorphic", number unfolded.Ms
                                    | None -> ()
                                    "warp", number registered.WarpMs
                                    "total", number registered.TotalMs
                                ]
                            match overlap with
                            | Some scores -> "labels", overlapNode scores
                            | None -> ()
                            match result.Refined with
                            | Some refined ->
                                "local_correlation_before", number refined.Before
                                "local_correlation_after", number refined.After
                                "refinement_steps", JsonValue.Create refined.Steps
                            | None -> ()
                            match result.Unfolded with
                            | Some unfolded ->
                                "folded_percent_before", number unfolded.FoldedBeforePercent
                                "diffeomorphic_change_mean_mm", number unfolded.Fit.MeanChangeMm
                                "diffeomorphic_change_max_mm", number unfolded.Fit.MaxChangeMm
                            | None -> ()
                            match inverse with
                            | Some error ->
                                "inverse_transform", r.InverseTransform |> Option.map text |> Option.toObj
                                "inverse_residual_mean_mm", number error.MeanMm
                                "inverse_residual_max_mm", number error.MaxMm
                            | None -> ()
                            "peak_mb", number (peakMegabytes ())
                            "verdict", text word
                            "reasons", JsonArray(reasons |> List.map (fun s -> text s) |> Array.ofList)
                        ]
                    |> printJson
                else
                    printfn
                        "%s: correlation %s before, %s after; %s %% folded; %s mm moved on average (start: %s); %s ms"
                        word
                        (fixedPoint 3 quality.SimilarityBefore)
                        (fixedPoint 3 quality.SimilarityAfter)
                        (fixedPoint 2 quality.Folding.FoldedPercent)
                        (fixedPoint 2 quality.MeanDisplacementMm)
                        result.StartedBy
                        (fixedPoint 0 registered.TotalMs)

                    match overlap with
                    | Some(before, after) ->
                        printfn
                            "labels: Dice %s before, %s after; surfaces (HD95) %s mm before, %s mm after; %s %% of the voxels inside change their volume more than threefold"
                            (fixedPoint 3 before.Dice)
                            (fixedPoint 3 after.Dice)
                            (fixedPoint 2 before.Hd95Mm)
                            (fixedPoint 2 after.Hd95Mm)
                            (fixedPoint 1 after.ExtremeLabelPercent)
                    | None -> ()

                    if result.LeftAsTheyWere then
                        printfn
                            "the scans agree already: the network's deformation, with which they agree less, was left out"

                    match result.Refined with
                    | Some refined ->
                        printfn
                            "refinement: local correlation %s before, %s after; %d steps, %s ms"
                            (fixedPoint 4 refined.Before)
                            (fixedPoint 4 refined.After)
                            refined.Steps
                            (fixedPoint 0 result.RefinementMs)
                    | None -> ()

                    match result.Unfolded with
                    | Some unfolded ->
                        printfn
                            "diffeomorphic: %s %% folded before; places changed by %s mm on average, %s mm at most; %s ms"
                            (fixedPoint 2 unfolded.FoldedBeforePercent)
                            (fixedPoint 3 unfolded.Fit.MeanChangeMm)
                            (fixedPoint 2 unfolded.Fit.MaxChangeMm)
                            (fixedPoint 0 unfolded.Ms)
                    | None -> ()

                for reason in reasons do
                    eprintfn "%s: %s" word reason

                match quality.Verdict with
                | Verdict.Failed -> ExitCode.badRegistration
                | _ -> ExitCode.ok)))

/// The data set that is scored on, and the parts and the alignment of an experiment that names it.
let private evaluatedData (data: string) : Result<Dataset * (SplitSubjects * DataOptions) option, Error> =
    let data = Dataset.meant data

    match Dataset.tryOfFile data with
    | Some dataset -> dataset |> Result.map (fun dataset -> dataset, None)
    | None when File.Exists data ->
        Experiment.read data []
        |> Result.bind (fun experiment ->
            Dataset.load experiment.Data
            |> Result.bind (fun dataset ->
                Dataset.split experiment.Data.Split dataset
                |> Result.map (fun split -> dataset, Some(split, experiment.Data))))
    | None when Directory.Exists data -> Dataset.ofFolder data |> Result.map (fun dataset -> dataset, None)
    | None ->
        Error(
            BadFile(
                data,
                "no such folder or file",
                "give a folder with a dataset.json, a data set's description, a table of pairs, or an experiment's file"
            )
        )

/// The subjects that are scored on: those of the model's split, of a data set or an experiment that names its parts, or all.
let private evaluatedGroup
    (part: string)
    (card: ModelCard option)
    (dataset: Dataset, groups: (SplitSubjects * DataOptions) option)
    : Result<SubjectGroup, Error> =
    let named names =
        Dataset.named names dataset |> Result.map SubjectGroup.free

    let ofSplit (split: SplitSubjects) =
        match part with
        | "test" -> SubjectGroup.together split.TestGroups
        | "val" -> split.ValidationGroup
        | _ -> split.TrainGroup

    match part, groups, card with
    | "all", Some(_, { Split = Cut _ }), _ -> Ok(SubjectGroup.free dataset.Subjects)
    // A data set that names its parts says itself what is tested on.
    | _, None, _ when not dataset.Parts.IsEmpty ->
        let own = Map [ "test", "test"; "val", "validation"; "train", "training" ]
        Dataset.partOrAll (own.TryFind part) dataset
    | ("test" | "val" | "train"), Some(split, { Split = Parts _ }), _ -> Ok(ofSplit split)
    | "test", _, Some card -> named card.Test
    | "val", _, Some card -> named card.Validation
    | "train", _, Some card -> named card.Train
    | ("test" | "val" | "train"), Some(split, _), None -> Ok(ofSplit split)
    | ("test" | "val" | "train"), None, None ->
        Error(
            BadInput
                $"--split {part}: without a model nobody says which scans these are; give an experiment's file to --data, or --split all"
        )
    | _ -> Ok(SubjectGroup.free dataset.Subjects)

/// What registers pairs as `register` does by itself, with a network or without one.
let private pairRegistration
    (network: (Alignment option -> Volume -> Volume -> Registered) option)
    (e: EvaluateOptions)
    =
    let options =
        {
            Prealignment = if network.IsSome then ByHeader None else WhereItHelps
            Start = None
            StartField = None
            Refinement =
                (match e.Refine, network with
                 | Some 0, _
                 | None, Some _ -> None
                 | steps, _ ->
                     Some(
                         RefinementOptions(
                             Steps = Option.defaultValue (RefinementOptions().Steps) steps,
                             ControlSpacingMm = Option.toNullable e.ControlSpacingMm
                         )
                     ))
            FixedMask = None
            MovingMask = None
            Diffeomorphic = None
            Say = ignore
        }

    fun fixedScan moving -> (PairRegistration.run network options fixedScan moving).Registered

/// Tries the verdict: a table, and a line for each trial in the output folder.
let private tryVerdict
    (request: Request)
    (reporter: Progress.Reporter)
    (e: EvaluateOptions)
    name
    card
    others
    set
    register
    =
    let trials =
        VerdictTrial.run
            register
            (Registration.quality card None)
            (others |> List.map (fun file -> ImageFile.Read(file: string)))
            set
            e.Pairs
            CancellationToken.None
            (fun pair pairs -> reporter.Show(Scoring(name, pair, pairs)))

    reporter.Close()
    let table = VerdictTrial.toTable trials

    e.Output
    |> Option.iter (fun folder ->
        AtomicFile.WriteText(Path.Combine(folder, "verdict.csv"), VerdictTrial.toCsv trials)
        AtomicFile.WriteText(Path.Combine(folder, "verdict.md"), table + "\n")

        AtomicFile.WriteText(
            Path.Combine(folder, "verdict.json"),
            (VerdictTrial.toJson trials).ToJsonString() + "\n"
        ))

    if request.Json then
        printJson (VerdictTrial.toJson trials)
    else
        printfn "%s" table

    ExitCode.ok

let private evaluate (request: Request) (reporter: Progress.Reporter) (e: EvaluateOptions) =
    let name =
        Option.defaultValue "none" e.Model
        + (e.Refine |> Option.map (fun _ -> " refined") |> Option.defaultValue "")

    let score (card: ModelCard option) (dataset: Dataset, groups) (group: SubjectGroup) register =
        Error.guard (fun () ->
            e.Output
            |> Option.iter (fun folder -> Directory.CreateDirectory(folder: string) |> ignore)

            let ofExperiment = groups |> Option.map (fun (_, data: DataOptions) -> data)

            let ignored, alignment =
                match card, ofExperiment with
                | Some card, _ -> card.IgnoredLabels, card.Alignment
                | None, Some data -> data.IgnoredLabels, data.Alignment
                | None, None -> [], Alignment.World

            let set = Evaluator.load (Seed.ofInt e.Seed) e.Pairs ignored group
            card |> Option.iter (fun card -> Evaluator.checkGrids card set)

            match e.Verdict with
            | Some others -> tryVerdict request reporter e name card others set register
            | None ->

                let before = Evaluator.untouched alignment set CancellationToken.None

                let scores =
                    Evaluator.by register e.Inverse set CancellationToken.None (fun pair pairs ->
                        reporter.Show(Scoring(name, pair, pairs)))

                let known =
                    e.KnownField
                    |> Option.map (fun options ->
                        Evaluator.knownFields register options set CancellationToken.None)

                reporter.Close()
                let size = card |> Option.map ModelFile.sizeOf |> Option.defaultValue (0L, 0.0)
                let summary = Scores.summarise name size before scores
                let json = Scores.toJson summary
                json.Add("draw_seed", JsonValue.Create e.Seed)

                for errors in Option.toList known do
                    json.Add("known_field_scans", JsonValue.Create errors.Length)
                    json.Add("known_field_before_mm", number (List.averageBy fst errors))
                    json.Add("known_field_mm", number (List.averageBy snd errors))

                    json.Add(
                        "known_field_each_mm",
                        JsonArray(errors |> List.map (snd >> number) |> Array.ofList)
                    )

                e.Output
                |> Option.iter (fun folder ->
                    let write name text =
                        AtomicFile.WriteText(Path.Combine(folder, name), text)

                    write "scores.csv" (Scores.toCsv scores)
                    write "summary.json" (json.ToJsonString() + "\n")

                    write
                        "report.html"
                        (EvaluationReport.page
                            {
                                Model = name
                                Data = dataset.Name
                                Split =
                                    match e.Split with
                                    | "val" -> "validation"
                                    | "train" -> "training"
                                    | other -> other
                                Subjects = group.Members.Length
                                Command = Shell.command request.CommandLine
                                Folder = Directory.GetCurrentDirectory()
                            }
                            before
                            scores))

                if request.Json then
                    printJson json
                else
                    printfn
                        "%s"
                        (Scores.toTable [ Scores.summarise "untouched" (0L, 0.0) before before; summary ])

                    for errors in Option.toList known do
                        printfn
                            "known field: %s mm off on average, doing nothing %s mm (%d scans)"
                            (fixedPoint 3 (List.averageBy snd errors))
                            (fixedPoint 3 (List.averageBy fst errors))
                            errors.Length

                ExitCode.ok)

    evaluatedData e.Data
    |> Result.bind (fun data ->
        match e.Model with
        | None ->
            evaluatedGroup e.Split None data
            |> Result.bind (fun group -> score None data group (pairRegistration None e))
        | Some model ->
            ModelFile.resolve model
            |> Result.bind (fun path ->
                ModelFile.inspect path
                |> Result.bind (fun (card, file) ->
                    evaluatedGroup e.Split (Some card) data
                    |> Result.bind (fun group ->
                        withEngine request e.Engine path file (fun network ->
                            score (Some card) data group (pairRegistration (Some network) e))))))

/// Carries out a request; the exit code.
let execute (request: Request) : int =
    let reporter = Progress.Reporter()
    request.Threads |> Option.iter (fun count -> Threads.Most <- count)

    let result =
        match request.Command with
        | Register r -> register request r
        | Evaluate asked -> evaluate request reporter asked
        | Call call -> Ok(Call.carryOut request.CommandLine call)

    match result with
    | Ok code -> code
    | Error error ->
        reporter.Close()

        for line in Error.lines error do
            eprintfn "ldr-fs: %s" line

        ExitCode.badInput
