module Ldr.Core.Tests.TrainerTests

open System
open System.Collections.Concurrent
open System.IO
open System.Threading
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality
open Ldr.TestKit.Helpers
open Ldr.Core.Tests.TensorSupport

let private anatomy =
    {
        Size = 24, 24, 24
        Subjects = 5
        Structures = 3
        Deformation = 1.5
        Noise = 0.02
        Seed = 4
    }

let private set =
    lazy
        ({
            Names = Array.init 5 (sprintf "subject%d")
            Group =
                [
                    for i in 0..4 ->
                        Subject.ofImage
                            $"subject{i}"
                            (Stored.made (fun () -> fst (Anatomy.subject anatomy i)))
                ]
                |> SubjectGroup.free
            Scans =
                [|
                    for i in 0..4 ->
                        let scan = fst (Anatomy.subject anatomy i)
                        fun () -> scan
                |]
            Masks = Array.create 5 None
            Labels = lazy ([||], [||])
            Depths = lazy [||]
            Size = 32, 32, 32
            GridOf = fun scan -> ModelGrid.Canvas(scan.Grid, struct (1.0, 1.0, 1.0), struct (32, 32, 32))
            Alignment = Alignment.World
            Affine = ConcurrentDictionary()
        }
        : TrainingSet)

let options: TrainingOptions =
    {
        Name = "student"
        Seeds = []
        Architecture =
            Architecture.Single(
                Stage.LdrHalf
                    {
                        Encoder = [ 4; 4; 8; 8 ]
                        Decoder = [ 8; 4; 4 ]
                    }
            )
        Start = None
        Steps = 8
        Batch = 1
        Accumulate = 1
        Pairs = None
        Augmentation = None
        Known = None
        LearningRate =
            {
                Initial = 1e-3
                Decay = Cosine
                Cycles = 1
            }
        Clip = None
        Average = None
        Loss =
            { LossWeights.standard with
                Smoothness = 0.1
            }
        Distillation = None
        ValidateEvery = 4
        CheckpointEvery = 4
        EarlyStopping = None
    }

let job folder resume stop sink : TrainingJob =
    {
        Options = options
        Seed = Seed.ofInt 1
        Set = set.Value
        Teacher = None
        Device = torch.CPU
        Run = folder
        Resume = resume
        Validate = fun _ -> [ "dice", 0.5 ]
        Sink = sink
        Stop = stop
        Ranks = Ranks.alone
    }

let weights ending =
    match ending with
    | Finished(network, _) -> [| for p in network.parameters () -> Bridge.toArray p |]
    | Interrupted step -> failtestf "interrupted after %d" step

let private ignoreEvents (_: TrainingEvent) = ()

/// Stops a run from inside, after a step.
let private stopAt folder step =
    use stop = new CancellationTokenSource()

    let counted =
        { job folder false stop.Token ignoreEvents with
            Validate =
                fun _ ->
                    (stop.Cancel()
                     [])
        }

    match
        trained
            { counted with
                Options = { options with ValidateEvery = step }
            }
    with
    | Interrupted at -> at
    | Finished _ -> failtest "ran to its end"

let tests =
    testSequenced
    <| testList
        "trainer"
        [
            testInFolder "a checkpoint keeps what the training knew" (fun folder ->
                use network = Network.create (Seed.ofInt 1) options.Architecture

                let savables =
                    [
                        {
                            Name = "network"
                            Module = network
                            Optimiser = None
                        }
                    ]

                let state =
                    {
                        Step = 3
                        Pending = [ [ "loss", 3.0 ]; [ "loss", 2.0; "dice", 0.5 ] ]
                        Best = Some { Dice = 0.4; Step = 2; Since = 1 }
                    }

                Checkpoint.write folder "student" state savables |> Error.orRaise |> ignore

                Expect.equal
                    (Checkpoint.tryRestore folder "student" (fun _ -> failtest) savables)
                    (Ok(Some state))
                    "step, pending reports in their order, and the best validation")

            testInFolder "another program's fields lose the pair's initial alignment" (fun folder ->
                let grid = Grid(8, 9, 10, Affine.Scaling(2.0, 1.5, 3.0))
                let initial = Affine.Translation(3.0, -2.0, 5.0)

                let pair: PreparedPair =
                    {
                        Grid = grid
                        Fixed = [||]
                        Moving = [||]
                        Inside = [||]
                        Initial = initial
                    }

                let own =
                    DisplacementField(
                        grid,
                        Array.init (3 * int grid.Count) (fun i -> 0.1f * float32 (i % 7))
                    )

                Nifti.WriteField(folder </> "a--b.nii.gz", own.After initial)

                let read =
                    FieldStore.openFolder folder
                    |> Result.bind (fun store -> FieldStore.read store ("a", "b") pair)
                    |> Error.orRaise

                for found, expected in Array.zip read own.Vectors do
                    Expect.isLessThan (abs (found - expected)) 1e-4f "in voxels, after the alignment")

            testInFolder "every step has the learning rate of its place" (fun folder ->
                let after name steps decay =
                    let own =
                        { options with
                            Steps = steps
                            LearningRate =
                                {
                                    Initial = 1e-3
                                    Decay = decay
                                    Cycles = 1
                                }
                        }

                    trained
                        { job (folder </> name) false CancellationToken.None ignoreEvents with
                            Options = own
                        }
                    |> weights
                    |> Array.concat

                // The second of two steps has half the rate of the first, and Adam's move is in proportion to it.
                let first, whole, half =
                    after "one" 1 Constant, after "two" 2 Constant, after "cosine" 2 Cosine

                let move = Array.map2 (-) whole first
                Expect.isGreaterThan (Array.max move) 1e-4f "it moves"

                for full, short in Array.zip move (Array.map2 (-) half first) do
                    Expect.isLessThan (abs (short - 0.5f * full)) 2e-6f "half as far")

            testInFolder
                "the same seed gives the same weights, and a stopped run goes on to them bit by bit"
                (fun folder ->
                    let whole =
                        trained (job (folder </> "a") false CancellationToken.None ignoreEvents)
                        |> weights

                    let again =
                        trained (job (folder </> "b") false CancellationToken.None ignoreEvents)
                        |> weights

                    Expect.equal again whole "the same again"
                    Expect.equal (stopAt (folder </> "c") 3) 3 "stopped after three steps"

                    let resumed =
                        trained (job (folder </> "c") true CancellationToken.None ignoreEvents)
                        |> weights

                    Expect.equal resumed whole "resumed")

            testInFolder "the loss counts what is inside the fixed scan's mask" (fun folder ->
                let grid = (set.Value.Scans[0]()).Grid

                // All of a scan, or its lower half along x.
                let masked name (inside: int -> bool) =
                    let mask =
                        Volume(
                            grid,
                            Array.init (int grid.Count) (fun i ->
                                if inside (i % grid.Nx) then 1.0f else 0.0f)
                        )

                    let reported = ResizeArray()

                    let sink event =
                        match event with
                        | Progressed(_, _, _, metrics, _, _) ->
                            reported.Add(List.find (fst >> (=) "similarity") metrics)
                        | _ -> ()

                    let job = job (folder </> name) false CancellationToken.None sink

                    trained
                        { job with
                            Options = { job.Options with Steps = 2 }
                            Set =
                                { set.Value with
                                    Masks = Array.create 5 (Some(fun () -> mask))
                                }
                        }
                    |> weights,
                    List.ofSeq reported

                let none =
                    trained
                        { job (folder </> "none") false CancellationToken.None ignoreEvents with
                            Options = { options with Steps = 2 }
                        }
                    |> weights

                let whole = masked "whole" (fun _ -> true)
                let half = masked "half" (fun x -> x < grid.Nx / 2)
                Expect.equal (fst whole) none "a mask of the whole scan changes nothing"
                Expect.notEqual (fst half) none "a mask of half a scan gives other weights"
                Expect.notEqual (snd half) (snd whole) "and another loss")

            testInFolder "a stopped run with augmentation goes on bit by bit" (fun folder ->
                let varied =
                    """{"flip": [0.5, 0.5, 0.5], "affine_probability": 1, "elastic_probability": 1,
                        "gamma_probability": 1, "noise_probability": 1, "bias_probability": 1}"""
                    |> Codec.ofText "" Augmentation.codec
                    |> Error.orRaise

                let job name resume =
                    let job = job (folder </> name) resume CancellationToken.None ignoreEvents

                    { job with
                        Options =
                            { job.Options with
                                Augmentation = Some varied
                            }
                    }

                let whole = trained (job "whole" false) |> weights
                use stop = new CancellationTokenSource()

                trained
                    { job "cut" false with
                        Stop = stop.Token
                        Validate =
                            fun _ ->
                                stop.Cancel()
                                []
                    }
                |> ignore

                Expect.equal (trained (job "cut" true) |> weights) whole "resumed"

                let plain =
                    trained (
                        { job "plain" false with
                            Options = options
                        }
                    )
                    |> weights

                Expect.notEqual plain whole "without augmentation")

            testInFolder
                "scans that lie apart are brought together by their centres, as in a registration"
                (fun folder ->
                    let away =
                        set.Value.Scans
                        |> Array.mapi (fun i scan () ->
                            Volume(
                                Grid(24, 24, 24, Affine.Translation(500.0 * float i, 0, 0)),
                                (scan ()).Values
                            ))

                    let trained scans name =
                        trained
                            { job (folder </> name) false CancellationToken.None ignoreEvents with
                                Set = { set.Value with Scans = scans }
                            }
                        |> weights

                    Expect.equal (trained away "away") (trained set.Value.Scans "near") "weights")

            testInFolder "a damaged checkpoint is passed over for the one before" (fun folder ->
                let resumedAt = ref -1
                let warnings = ResizeArray()

                trained (job folder false CancellationToken.None ignoreEvents) |> ignore
                let newest = folder </> "checkpoints" </> "student-8.safetensors"
                let bytes = File.ReadAllBytes newest
                bytes[bytes.Length / 2] <- bytes[bytes.Length / 2] ^^^ 1uy
                File.WriteAllBytes(newest, bytes)

                trained (
                    job folder true CancellationToken.None (fun event ->
                        match event with
                        | Started(_, _, _, _, at) -> resumedAt.Value <- at
                        | Warned(_, step, message) when message.Contains "checkpoint" ->
                            warnings.Add(step, message)
                        | _ -> ())
                )
                |> ignore

                Expect.equal resumedAt.Value 4 "from the checkpoint after 4 steps"
                Expect.hasLength warnings 1 "one warning"
                let step, message = warnings[0]
                Expect.equal step 8 "of the one after 8 steps"
                Expect.stringContains message newest "its file"
                Expect.stringContains message "damaged" "and what is wrong")

            testInFolder
                "after a damaged checkpoint two whole ones are kept again; when none is whole, that is said"
                (fun folder ->
                    let spoil (file: string) =
                        let path = folder </> "checkpoints" </> file
                        let bytes = File.ReadAllBytes path
                        bytes[bytes.Length / 2] <- bytes[bytes.Length / 2] ^^^ 1uy
                        File.WriteAllBytes(path, bytes)

                    let resume stop sink =
                        trained (job folder true stop sink) |> ignore

                    trained (job folder false CancellationToken.None ignoreEvents) |> ignore
                    spoil "student-8.safetensors"
                    use stop = new CancellationTokenSource()
                    stop.Cancel()
                    // Stops at once, after the restored step 4, with a checkpoint: the damaged one is no longer known.
                    resume stop.Token ignoreEvents
                    File.WriteAllText(folder </> "checkpoints" </> "student-6.safetensors", "half a file")
                    File.WriteAllText(folder </> "checkpoints" </> "mine.safetensors", "of the user")
                    Checkpoint.clean folder [] |> Error.orRaise

                    Expect.equal
                        (Directory.GetFiles(folder </> "checkpoints")
                         |> Array.map Path.GetFileName
                         |> Array.sort)
                        [| "index.json"; "mine.safetensors"; "student-4.safetensors" |]
                        "what the index does not know is removed"

                    resume CancellationToken.None ignoreEvents
                    spoil "student-4.safetensors"
                    spoil "student-8.safetensors"
                    let warnings, resumedAt = ResizeArray(), ref -1

                    resume CancellationToken.None (fun event ->
                        match event with
                        | Started(_, _, _, _, at) -> resumedAt.Value <- at
                        | Warned(_, _, message) when message.Contains "checkpoint" -> warnings.Add message
                        | _ -> ())

                    Expect.equal resumedAt.Value 0 "from the start"
                    Expect.hasLength warnings 3 "one for each, and one for all"
                    Expect.stringContains warnings[2] "no checkpoint of student" "none is whole"
                    Expect.stringContains warnings[2] "starts again" "what is done")

            testInFolder
                "an index that cannot be used is bad input, and nothing is trained anew"
                (fun folder ->
                    trained (job folder false CancellationToken.None ignoreEvents) |> ignore
                    let index = folder </> "checkpoints" </> "index.json"
                    let good = File.ReadAllText index

                    for text, word in
                        [
                            "[{", "not valid JSON"
                            good.Replace("student-8.safetensors", "../student-8.safetensors"), "$[0].file"
                        ] do
                        File.WriteAllText(index, text)

                        match
                            Error.guard (fun () ->
                                trained (job folder true CancellationToken.None ignoreEvents))
                        with
                        | Ok _ -> failtest "went on"
                        | Error e ->
                            let message = String.Join("", Error.lines e)
                            Expect.stringContains message index "the file"
                            Expect.stringContains message word "what is wrong")

            testInFolder "a stopped distillation goes on bit by bit" (fun folder ->
                let distilling folder resume sink =
                    let teacher = Network.create (Seed.ofInt 9) options.Architecture
                    use _ = TorchSharp.torch.no_grad ()

                    for struct (name, parameter) in teacher.named_parameters () do
                        if name.Contains "flow" && name.EndsWith "weight" then
                            parameter.normal_ (0.0, 0.4, generator = new torch.Generator(5UL)) |> ignore

                    { job folder resume CancellationToken.None sink with
                        Teacher = Some(Online teacher)
                        Options =
                            { options with
                                Distillation =
                                    Some
                                        {
                                            Teacher = "teacher"
                                            Objective = SquaredGap
                                            Weight = 1.0
                                            FieldDistance = 0.0
                                            FieldWeights = Even
                                            FieldDerivatives = 0.0
                                            Beta = 0.1
                                            Penalty = 0.1
                                            PenaltyPlayers = DiscriminatorAlone
                                            Schedule =
                                                [
                                                    {
                                                        Steps = None
                                                        Cycle = [ 1.0; 0.3; 0.3 ]
                                                        DiscriminatorMoves = None
                                                    }
                                                ]
                                            Discriminator =
                                                {
                                                    Widths = [ 4; 8 ]
                                                    Conditioned = false
                                                    FullSize = true
                                                    FirstRelu = true
                                                }
                                            DiscriminatorRate = 1e-3
                                        }
                            }
                    }

                /// What is learnt: the last checkpoint, discriminator and optimisers included.
                let learnt folder =
                    let file = Safetensors.Read(folder </> "checkpoints" </> "student-8.safetensors")
                    file.Tensors |> Seq.map (fun t -> t.Name, t.Bytes) |> Map.ofSeq

                trained (distilling (folder </> "whole") false ignoreEvents) |> ignore
                use stop = new CancellationTokenSource()

                match
                    trained
                        { distilling (folder </> "cut") false ignoreEvents with
                            Stop = stop.Token
                            Options =
                                { (distilling (folder </> "cut") false ignoreEvents).Options with
                                    ValidateEvery = 5
                                }
                            Validate =
                                fun _ ->
                                    stop.Cancel()
                                    []
                        }
                with
                | Interrupted 5 -> ()
                | other -> failtestf "%A" other

                trained (distilling (folder </> "cut") true ignoreEvents) |> ignore
                let whole, cut = learnt (folder </> "whole"), learnt (folder </> "cut")

                Expect.exists
                    (Map.keys whole)
                    _.StartsWith("discriminator.adam")
                    "the discriminator is in it"

                Expect.equal (Map.keys cut |> List.ofSeq) (Map.keys whole |> List.ofSeq) "tensors"

                for KeyValue(name, bytes) in whole do
                    Expect.isTrue (bytes = cut[name]) name)

            testInFolder
                "what a loss asks of labels reaches its step: each label's map, how deep voxels lie in it, or both"
                (fun folder ->
                    use _ = torch.NewDisposeScope()

                    let data =
                        """{"source": {"kind": "synthetic", "size": [24, 20, 22], "subjects": 6, "structures": 3},
                            "split": {"train": 2, "validation": 2, "test": 2}, "size": [24, 20, 22], "ignored_labels": [2]}"""
                        |> Codec.ofText "" DataOptions.codec
                        |> Error.orRaise

                    let dataset = Dataset.load data |> Error.orRaise

                    let scans =
                        TrainingSet.load data (SubjectGroup.free dataset.Subjects) |> Error.orRaise

                    use student = Network.create (Seed.ofInt 1) options.Architecture

                    let batch dice distance =
                        let job = job folder false CancellationToken.None ignoreEvents

                        (Batches.ofStep
                            { job with
                                Set = scans
                                Options =
                                    { options with
                                        Loss =
                                            { options.Loss with
                                                Dice = dice
                                                LabelDistance = distance
                                            }
                                    }
                            }
                            (StepClock())
                            student
                            0
                            { Gamma = 1.0; DiscriminatorMoves = 0 }
                            [ 0, 3 ])
                            .Head

                    let expected make =
                        [
                            for subject in [ 0; 3 ] ->
                                let map = (Option.get dataset.Subjects[subject].Labels).Read()
                                [| for label in [ 1; 3 ] -> make map label |] |> Array.concat
                        ]

                    let maps =
                        expected (fun map label ->
                            map.Values |> Array.map (fun v -> if v = float32 label then 1.0f else 0.0f))

                    let depths =
                        expected (fun map label ->
                            (SignedDistance.Of(map, label, 4.0)).Values |> Array.map (fun d -> d / 4.0f))

                    let both (pair: (torch.Tensor * torch.Tensor) option) =
                        pair |> Option.map (fun (f, m) -> [ Bridge.toArray f; Bridge.toArray m ])

                    for dice, distance in [ 0.0, 0.0; 1.0, 0.0; 0.0, 1.0; 0.5, 2.0 ] do
                        let batch = batch dice distance

                        let wanted weight values =
                            if weight > 0.0 then Some values else None

                        Expect.equal (both batch.Labels) (wanted dice maps) $"maps, {dice} and {distance}"

                        Expect.equal
                            (both batch.Depths)
                            (wanted distance depths)
                            $"depths, {dice} and {distance}"

                    let bare =
                        TrainingSet.load
                            data
                            (SubjectGroup.free (
                                dataset.Subjects |> List.map (fun s -> { s with Labels = None })
                            ))
                        |> Error.orRaise

                    match Error.guard (fun () -> bare.Depths.Force()) with
                    | Ok _ -> failtest "accepted"
                    | Error e ->
                        Expect.stringContains (String.Join("", Error.lines e)) "\"label_distance\"" "the key")

            testInFolder
                "of more than 32 labels, every batch draws 32, the same again; depths are refused"
                (fun folder ->
                    use _ = torch.NewDisposeScope()
                    let grid = gridOf 24 20 22

                    // Layers of 40 labels, and some voxels without.
                    let layers =
                        Volume(grid, Array.init (24 * 20 * 22) (fun i -> float32 (i / 240 % 41)))

                    let subject name =
                        { Subject.ofImage name (Stored.made (fun () -> layers)) with
                            Labels = Some(Stored.made (fun () -> layers))
                        }

                    let data =
                        { DataOptions.standard with
                            Size = 24, 20, 22
                            Spacing = 1.0, 1.0, 1.0
                            IgnoredLabels = [ 7 ]
                        }

                    let scans =
                        TrainingSet.load data (SubjectGroup.free [ subject "a"; subject "b" ])
                        |> Error.orRaise

                    use student = Network.create (Seed.ofInt 1) options.Architecture

                    /// The label of every channel.
                    let labelsOf (ofFixed: torch.Tensor, ofMoving: torch.Tensor) =
                        Expect.equal
                            (Bridge.toArray ofMoving)
                            (Bridge.toArray ofFixed)
                            "the same labels of both"

                        [
                            for channel in 0L .. ofFixed.shape[1] - 1L ->
                                let map = ofFixed.select (1L, channel) |> Bridge.toArray
                                let first = Array.findIndex ((=) 1.0f) map

                                Expect.equal
                                    map
                                    (layers.Values
                                     |> Array.map (fun v -> if v = layers.Values[first] then 1.0f else 0.0f))
                                    "one label's map"

                                int layers.Values[first]
                        ]

                    /// The label of every channel of each of a step's two batches.
                    let drawn step =
                        let job = job folder false CancellationToken.None ignoreEvents

                        let batches =
                            Batches.ofStep
                                { job with
                                    Set = scans
                                    Options =
                                        { options with
                                            Accumulate = 2
                                            Loss = { options.Loss with Dice = 1.0 }
                                        }
                                }
                                (StepClock())
                                student
                                step
                                { Gamma = 1.0; DiscriminatorMoves = 0 }
                                [ 0, 1; 1, 0 ]

                        batches |> List.map (fun batch -> labelsOf (Option.get batch.Labels))

                    let steps = [ for step in 0..4 -> drawn step ]
                    let each = List.concat steps

                    for labels in each do
                        Expect.hasLength (List.distinct labels) 32 "different labels"

                    Expect.hasLength (List.distinct each) 10 "each batch draws its own"
                    Expect.equal (drawn 3) steps[3] "the same again"

                    Expect.equal
                        (each |> List.concat |> List.distinct |> List.sort)
                        ([ 1..6 ] @ [ 8..40 ])
                        "all of them in ten batches, none that is ignored"

                    match Error.guard (fun () -> scans.Depths.Force()) with
                    | Ok _ -> failtest "accepted"
                    | Error e ->
                        Expect.stringContains (String.Join("", Error.lines e)) "at most 32 labels" "depths")

            testInFolder "a model file comes back as it was, and a wrong one is refused" (fun folder ->
                let network = Network.create (Seed.ofInt 7) options.Architecture

                let card =
                    {
                        Architecture = options.Architecture
                        Intensity = IntensityRule.Percentiles(0.5, 99.5)
                        Spacing = 1.0, 1.0, 2.0
                        Size = 32, 32, 32
                        Alignment = Alignment.Centres
                        Data = "synthetic"
                        Licence = "MIT"
                        Train = [ "a"; "b" ]
                        Validation = []
                        Test = [ "c" ]
                        IgnoredLabels = [ 1 ]
                        Steps = 5
                        Experiment = "00ff"
                        Notes = [ "a line" ]
                        Verdict = Some(VerdictThresholds(LookDetail = 0.41, FailedExtremePercent = 12.5))
                        Figures =
                            [
                                {
                                    Pairs = 20
                                    DrawSeed = 3
                                    DiceBefore = 0.5
                                    Dice = 0.8
                                    DiceSd = 0.05
                                    Hd95Mm = 1.5
                                    Carried95Mm = 1.75
                                    ExtremeLabelPercent = 0.25
                                    ExtremeContentPercent = 0.5
                                    VolumeErrorPercent = 7.0
                                    FoldedPercent = 0.125
                                    SdLogJ = 0.3
                                    InverseMm = None
                                    KnownFieldBeforeMm = Some 2.0
                                    KnownFieldMm = Some 0.75
                                }
                            ]
                    }

                let path = folder </> "model.safetensors"
                ModelFile.write path { Card = card; Network = network }

                match ModelFile.read path with
                | Error e -> failtestf "%A" e
                | Ok model ->
                    Expect.equal model.Card card "card"

                    for a, b in Seq.zip (network.parameters ()) (model.Network.parameters ()) do
                        Expect.equal (Bridge.toArray b) (Bridge.toArray a) "weights"

                // The weights of one architecture under the card of another.
                let wrong =
                    { card with
                        Architecture =
                            Architecture.Single(
                                Stage.LdrHalf
                                    {
                                        Encoder = [ 4; 4; 8; 16 ]
                                        Decoder = [ 8; 4; 4 ]
                                    }
                            )
                    }

                ModelFile.write path { Card = wrong; Network = network }

                match ModelFile.read path with
                | Ok _ -> failtest "accepted"
                | Error e ->
                    let message = String.Join("", Error.lines e)
                    Expect.stringContains message "stage1.conv4" "the tensor"
                    Expect.stringContains message "8×8×4×4×4" "what it is")

            testInFolder
                "a loss that is not finite ends the training and keeps the last checkpoint"
                (fun folder ->
                    let broken =
                        set.Value.Scans
                        |> Array.map (fun scan () ->
                            let scan = scan ()
                            Volume(scan.Grid, Array.create scan.Values.Length nanf))

                    let job = job folder false CancellationToken.None ignoreEvents
                    trained job |> ignore

                    let error =
                        Error.guard (fun () ->
                            trained
                                { job with
                                    Set = { set.Value with Scans = broken }
                                    Resume = true
                                    Options = { options with Steps = 12 }
                                })

                    match error with
                    | Ok _ -> failtest "went on"
                    | Error e ->
                        Expect.stringContains
                            (String.Join("", Error.lines e))
                            "not finite at step 8"
                            "message"

                    Expect.isTrue
                        (File.Exists(folder </> "checkpoints" </> "student-8.safetensors"))
                        "the checkpoint")

            testInFolder "a teacher's fields from a store teach what the teacher itself does" (fun folder ->
                use teacher = Network.create (Seed.ofInt 9) options.Architecture

                using (torch.no_grad ()) (fun _ ->
                    for struct (name, parameter) in teacher.named_parameters () do
                        if name.Contains "flow" && name.EndsWith "weight" then
                            parameter.normal_ (0.0, 0.4, generator = new torch.Generator(5UL)) |> ignore)

                let taught =
                    { options with
                        Pairs = Some 3
                        Distillation =
                            Some
                                {
                                    Teacher = "teacher"
                                    Objective = FieldDistance
                                    Weight = 1.0
                                    FieldDistance = 0.0
                                    FieldWeights = Even
                                    FieldDerivatives = 0.0
                                    Beta = 0.1
                                    Penalty = 0.1
                                    PenaltyPlayers = DiscriminatorAlone
                                    Schedule =
                                        [
                                            {
                                                Steps = None
                                                Cycle = [ 0.5 ]
                                                DiscriminatorMoves = None
                                            }
                                        ]
                                    Discriminator = DiscriminatorOptions.standard
                                    DiscriminatorRate = 1e-4
                                }
                    }

                let losses name teacher =
                    let told = ResizeArray()

                    let sink event =
                        match event with
                        | Progressed(_, _, _, metrics, _, _) -> told.AddRange metrics
                        | _ -> ()

                    let job =
                        { job (folder </> name) false CancellationToken.None sink with
                            Options = taught
                            Teacher = Some teacher
                        }

                    trained job |> weights |> ignore
                    told |> Seq.filter (fun (n, _) -> n = "objective") |> Seq.map snd |> List.ofSeq

                let own = Batches.pairs taught (Seed.ofInt 1) set.Value.Group
                Expect.hasLength own 3 "three different pairs"
                let names (f, m) = set.Value.Names[f], set.Value.Names[m]

                let origin =
                    {
                        Teacher = "digest"
                        Data = "data"
                        Size = 32, 32, 32
                        Spacing = 1.0, 1.0, 1.0
                        Intensity = IntensityRule.Percentiles(0.5, 99.5)
                        Alignment = Alignment.World
                    }

                let ours = FieldStore.create (folder </> "ours") origin |> Error.orRaise
                let foreign = FieldStore.openFolder (folder </> "foreign") |> Error.orRaise
                Directory.CreateDirectory foreign.Folder |> ignore

                for f, m in own do
                    use _ = torch.NewDisposeScope()
                    use _ = torch.no_grad ()
                    let pair = TrainingSet.pair set.Value (f, m)

                    let image (values: float32[]) =
                        Bridge.toTensor torch.CPU [| 1L; 1L; 32L; 32L; 32L |] values

                    let field =
                        Bridge.toArray (teacher.Predict(image pair.Fixed, image pair.Moving)).Field

                    FieldStore.write ours (names (f, m)) pair.Grid field

                    Nifti.WriteField(
                        foreign.Folder </> $"{fst (names (f, m))}--{snd (names (f, m))}.nii.gz",
                        DisplacementField(pair.Grid, field).After pair.Initial
                    )

                let online = losses "online" (Online teacher)
                Expect.isGreaterThan online.Head 0.1 "there is a distance to the teacher"

                let kept = FieldStore.create (folder </> "kept") origin |> Error.orRaise

                for name, source in
                    [
                        "ours, half precision", Fields(PairTeacher.stored set.Value ours)
                        "of another program", Fields(PairTeacher.stored set.Value foreign)
                        "remembered",
                        Fields(PairTeacher.kept set.Value kept (PairTeacher.network torch.CPU teacher))
                    ] do
                    let stored = losses name source

                    for a, b in List.zip online stored do
                        Expect.isLessThan (abs (a - b)) 2e-3 $"{name}: {a} and {b}"

                Expect.hasLength
                    (Directory.GetFiles(kept.Folder, "*.safetensors"))
                    3
                    "asked once for each pair"

                // A teacher that optimises brings the moving image nearer to the fixed one, and is asked once as well.
                let found = FieldStore.create (folder </> "found") origin |> Error.orRaise

                let optimised = Fields(PairTeacher.kept set.Value found PairTeacher.optimisation)

                let first = losses "optimised" optimised

                Expect.hasLength
                    (Directory.GetFiles(found.Folder, "*.safetensors"))
                    3
                    "a field for each pair"

                Expect.equal (losses "optimised again" optimised) first "from the store"

                for f, m in own do
                    use _ = torch.NewDisposeScope()
                    let pair = TrainingSet.pair set.Value (f, m)

                    let tensor channels values =
                        Bridge.toTensor torch.CPU [| 1L; channels; 32L; 32L; 32L |] values

                    let fixedImage, moving = tensor 1L pair.Fixed, tensor 1L pair.Moving
                    let field = tensor 3L (PairTeacher.stored set.Value found (f, m) pair)

                    let alike image =
                        (Similarity.correlation None fixedImage image).item<float32>()

                    Expect.isGreaterThan (alike (Field.warp field moving)) (alike moving) "nearer"

                // Another teacher's fields do not go into the same folder.
                Expect.isError
                    (FieldStore.create ours.Folder { origin with Teacher = "other" })
                    "another teacher"

                let f, m = own.Head
                let ending = $"{fst (names (f, m))}--{snd (names (f, m))}.safetensors"
                File.Delete(ours.Folder </> ending)

                match
                    Error.guard (fun () ->
                        PairTeacher.stored set.Value ours (f, m) (TrainingSet.pair set.Value (f, m)))
                with
                | Ok _ -> failtest "a pair without a field was accepted"
                | Error e ->
                    Expect.stringContains
                        (String.concat " " (Error.lines e))
                        "has no field for the pair"
                        "message")
        ]
