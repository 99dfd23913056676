/// Accumulated gradients, averaged weights, early stopping, a model to start from, and what a training takes.
module Ldr.Core.Tests.TrainingOptionTests

open System
open System.IO
open System.Threading
open Expecto
open TorchSharp
open Ldr
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.Core.Tests.TensorSupport
open Ldr.Core.Tests.TrainerTests

/// A job that learns from a teacher with fields of a few voxels.
let private distilling (folder: string) (change: TrainingOptions -> TrainingOptions) sink : TrainingJob =
    let teacher = Network.create (Seed.ofInt 9) options.Architecture
    use _ = torch.no_grad ()

    for struct (name, parameter) in teacher.named_parameters () do
        if name.Contains "flow" && name.EndsWith "weight" then
            parameter.normal_ (0.0, 0.4, generator = new torch.Generator(5UL)) |> ignore

    let distillation =
        """{"teacher": "teacher", "objective": "patch-gap", "schedule": [{"cycle": [0.3]}],
            "discriminator": {"widths": [4, 8]}}"""
        |> Codec.ofText "" Distillation.codec
        |> Error.orRaise

    { job folder false CancellationToken.None sink with
        Teacher = Some(Online teacher)
        Options =
            change
                { options with
                    Distillation = Some distillation
                }
    }

/// The tensors of a training's checkpoint after a step, by name.
let private checkpoint (folder: string) (step: int) =
    (Safetensors.Read(folder </> "checkpoints" </> $"student-{step}.safetensors")).Tensors
    |> Seq.map (fun t -> t.Name, t.ToFloats())
    |> Map.ofSeq

let private valuesOf (network: Network) =
    [| for p in network.parameters () -> Bridge.toArray p |]

let private weightsOf (prefix: string) (tensors: Map<string, float32[]>) (network: Network) =
    [|
        for struct (name, _) in ModelFile.parameters network -> tensors[$"{prefix}.weights.{name}"]
    |]

let private learning =
    testList
        "accumulate and ema"
        [
            testInFolder
                "accumulated gradients are those of one large batch, the discriminator's too"
                (fun folder ->
                    let varied =
                        """{"flip": [0.5, 0.5, 0.5], "affine_probability": 1, "noise_probability": 1}"""
                        |> Codec.ofText "" Augmentation.codec
                        |> Error.orRaise

                    /// The first moments of both optimisers after one step: a tenth of the gradients.
                    let gradients batch accumulate =
                        let own = folder </> $"{batch}"

                        distilling
                            own
                            (fun o ->
                                { o with
                                    Steps = 1
                                    Batch = batch
                                    Accumulate = accumulate
                                    Augmentation = Some varied
                                })
                            ignore
                        |> trained
                        |> ignore

                        checkpoint own 1 |> Map.filter (fun name _ -> name.EndsWith ".mean")

                    let whole = gradients 4 1

                    for batch, accumulate in [ 1, 4; 2, 2 ] do
                        for KeyValue(name, values) in gradients batch accumulate do
                            let expected = whole[name]
                            let largest = expected |> Array.fold (fun m v -> max m (abs v)) 0.0f
                            Expect.isGreaterThan largest 0.0f name

                            for a, e in Array.zip values expected do
                                if not (abs (a - e) <= 1e-3f * largest) then
                                    failtest
                                        $"{name}, batches of {batch}: {a} instead of {e}, the largest is {largest}")

            testInFolder "the discriminator has a learning rate of its own" (fun folder ->
                let weights rate =
                    let own = folder </> $"{rate}"

                    distilling
                        own
                        (fun o ->
                            { o with
                                Steps = 1
                                Distillation =
                                    o.Distillation
                                    |> Option.map (fun d -> { d with DiscriminatorRate = rate })
                            })
                        ignore
                    |> trained
                    |> ignore

                    checkpoint own 1
                    |> Map.filter (fun name _ -> name.StartsWith "discriminator.weights.")
                    |> Map.values
                    |> Array.concat

                // Adam's first move is as long as the rate.
                let largest =
                    Array.map2 (fun a b -> abs (a - b)) (weights 3e-3) (weights 1e-3) |> Array.max

                Expect.isLessThan (abs (largest - 2e-3f)) 2e-5f "the difference of the rates")

            testInFolder
                "the average is that of the weights after every step; it is validated and saved"
                (fun folder ->
                    let decay = 0.6
                    let validated = ResizeArray()
                    let averages = ResizeArray()
                    let mutable expected = [||]

                    let sink event =
                        match event with
                        | Saved(_, step, _) when averages.Count < step ->
                            let tensors = checkpoint folder step
                            use network = Network.create (Seed.ofInt 0) options.Architecture
                            let d = min decay (float step / float (step + 9))

                            expected <-
                                Array.map2
                                    (Array.map2 (fun (mean: float) (w: float32) ->
                                        d * mean + (1.0 - d) * float w))
                                    expected
                                    (weightsOf "network" tensors network)

                            averages.Add(weightsOf "average" tensors network)

                            for mean, e in Array.zip averages[averages.Count - 1] expected do
                                for a, b in Array.zip mean e do
                                    Expect.isLessThan (abs (float a - b)) 1e-6 $"after step {step}"
                        | _ -> ()

                    use start =
                        Network.create (Seed.ofInt 1 |> Seed.split "network") options.Architecture

                    expected <- valuesOf start |> Array.map (Array.map float)

                    let job = job folder false CancellationToken.None sink

                    let ending =
                        trained
                            { job with
                                Options =
                                    { options with
                                        Average = Some decay
                                        CheckpointEvery = 1
                                    }
                                Validate =
                                    fun network ->
                                        validated.Add(valuesOf network)
                                        []
                            }

                    Expect.hasLength averages 8 "after every step"
                    Expect.equal validated[0] averages[3] "validated after 4 steps"
                    Expect.equal (weights ending) averages[7] "what is saved"
                    Expect.notEqual averages[7] averages[6] "it moves"
                    Expect.equal (WeightAverage.decayAt 0.999 0) 0.1 "the first move"
                    Expect.equal (WeightAverage.decayAt 0.999 100000) 0.999 "a late one")
        ]

/// Dice by the number of the validation, also of a training that goes on.
let private scripted
    (folder: string)
    (resume: bool)
    (stopAfter: int)
    (dice: float list)
    (seen: ResizeArray<float32[][]>)
    =
    let stop = new CancellationTokenSource()
    let mutable next = 0

    let sink event =
        match event with
        | Started(_, _, _, _, step) -> next <- step / 2
        | _ -> ()

    { job folder resume stop.Token sink with
        Options =
            { options with
                Steps = 20
                ValidateEvery = 2
                CheckpointEvery = 3
                Average = Some 0.5
                EarlyStopping = Some 2
            }
        Validate =
            fun network ->
                seen.Add(valuesOf network)
                next <- next + 1

                if next = stopAfter then
                    stop.Cancel()

                [ "dice", dice[next - 1] ]
    }

let private stopping =
    testList
        "early stopping"
        [
            testInFolder
                "ends after so many validations without a better one, with the best weights, also when it was cut in between"
                (fun folder ->
                    let dice = [ 0.5; 0.6; 0.55; 0.6; 0.7 ]
                    let seen = ResizeArray()
                    let whole = folder </> "whole"
                    let ending = trained (scripted whole false 0 dice seen)
                    Expect.hasLength seen 4 "the fifth is not reached"

                    let best, steps =
                        match ending with
                        | Finished(network, steps) -> valuesOf network, steps
                        | Interrupted step -> failtestf "interrupted after %d" step

                    Expect.equal steps 4 "steps that made the weights"
                    Expect.equal best seen[1] "the weights of the best validation"
                    let again = ResizeArray()
                    let repeated = trained (scripted whole true 0 dice again)
                    Expect.isEmpty again "nothing is left to do"
                    Expect.equal (weights repeated) best "once more the best"

                    for cut in 1..3 do
                        let own = folder </> $"{cut}"

                        match trained (scripted own false cut dice seen) with
                        | Interrupted step -> Expect.equal step (2 * cut) "where it was cut"
                        | Finished _ -> failtest "ran to its end"

                        let resumed = trained (scripted own true 0 dice seen)
                        Expect.equal (weights resumed) best "resumed"
                        let a, b = checkpoint whole 8, checkpoint own 8
                        Expect.equal (Map.keys b |> List.ofSeq) (Map.keys a |> List.ofSeq) "tensors"

                        for KeyValue(name, values) in a do
                            Expect.isTrue (values = b[name]) $"{name}, cut after validation {cut}")

            testInFolder
                "without an end before its time, the best weights are saved all the same"
                (fun folder ->
                    let seen = ResizeArray()
                    let rising = [ 0.1; 0.2; 0.3; 0.4; 0.5; 0.6; 0.7; 0.8; 0.95; 0.9 ]

                    match trained (scripted folder false 0 rising seen) with
                    | Finished(network, steps) ->
                        Expect.equal steps 18 "steps that made the weights"
                        Expect.equal (valuesOf network) seen[8] "the weights of the best validation"
                    | Interrupted step -> failtestf "interrupted after %d" step)

            testInFolder "without labels it is refused" (fun folder ->
                let outcome =
                    Error.guard (fun () ->
                        trained
                            { scripted folder false 0 [] (ResizeArray()) with
                                Validate = fun _ -> [ "dice", nan ]
                            })

                match outcome with
                | Ok _ -> failtest "accepted"
                | Error e ->
                    Expect.stringContains (String.Join("", Error.lines e)) "early_stopping" "the key")
        ]

let private starting =
    testList
        "start"
        [
            testInFolder
                "a training starts from a model's weights; another architecture is refused"
                (fun folder ->
                    let path = folder </> "start.safetensors"
                    use before = Network.create (Seed.ofInt 33) options.Architecture

                    ModelFile.write
                        path
                        {
                            Card = ModelCard.untrained options.Architecture
                            Network = before
                        }

                    let starting name change =
                        let job = job (folder </> name) false CancellationToken.None ignore

                        trained
                            { job with
                                Options = change { options with Start = Some path }
                            }

                    let barely options =
                        { options with
                            Steps = 1
                            LearningRate =
                                {
                                    Initial = 1e-7
                                    Decay = Constant
                                    Cycles = 1
                                }
                        }

                    for a, b in Array.zip (weights (starting "barely" barely)) (valuesOf before) do
                        for x, y in Array.zip a b do
                            Expect.isLessThan (abs (x - y)) 2e-7f "as in the file"

                    let fresh = trained (job (folder </> "fresh") false CancellationToken.None ignore)

                    Expect.notEqual (weights (starting "whole" id)) (weights fresh) "it makes a difference"

                    let wider =
                        { options with
                            Architecture = Architecture.Single Stage.LdrReference
                        }

                    match
                        Error.guard (fun () -> starting "wrong" (fun o -> { wider with Start = o.Start }))
                    with
                    | Ok _ -> failtest "accepted"
                    | Error e ->
                        match Error.lines e with
                        | [ line ] ->
                            Expect.stringContains line path "the file"
                            Expect.stringContains line "ldr-half" "what it holds"
                            Expect.stringContains line "ldr-reference" "what is trained"
                        | lines -> failtestf "%A" lines)
        ]

let private costs =
    testList
        "costs"
        [
            testInFolder
                "memory is flat over the steps of a distillation, and the time is split"
                (fun folder ->
                    let tensors, heap, resident = ResizeArray(), ResizeArray(), ResizeArray()
                    let timed = ResizeArray()

                    let sink event =
                        match event with
                        | Progressed _ ->
                            tensors.Add DisposeScopeManager.Statistics.ThreadTotalLiveCount
                            heap.Add(float (GC.GetTotalMemory true) / 1e6)
                            resident.Add(float Environment.WorkingSet / 1e6)
                        | Timed(_, step, times) -> timed.Add(step, times)
                        | _ -> ()

                    distilling
                        folder
                        (fun o ->
                            { o with
                                Steps = 75
                                Accumulate = 2
                                Average = Some 0.9
                                ValidateEvery = 25
                                CheckpointEvery = 25
                            })
                        sink
                    |> trained
                    |> ignore

                    Expect.hasLength tensors 3 "every 25 steps"
                    Expect.allEqual tensors tensors[0] "tensors alive"
                    // A step makes about 10 MB of tensors: leaving one behind at each would show.
                    Expect.isLessThan (heap[2] - heap[0]) 1.0 "MB of managed memory more in 50 steps"

                    Expect.isLessThan
                        (resident[2] - resident[0])
                        64.0
                        "MB of resident memory more in 50 steps"

                    let step, times = Seq.exactlyOne timed
                    Expect.equal step 75 "at the end"
                    Expect.equal times.Steps 75 "of all steps"

                    Expect.floatClose
                        Accuracy.medium
                        (times.Shares |> List.sumBy snd)
                        1.0
                        "shares of the whole"

                    for part in [ "data"; "student"; "teacher"; "discriminator"; "optimiser"; "checkpoints" ] do
                        let share = times.Shares |> List.find (fun (name, _) -> name = part) |> snd
                        Expect.isGreaterThan share 0.0 part)

            test "time within another part counts once" {
                let clock = StepClock()
                let wait (milliseconds: int) = Thread.Sleep milliseconds

                clock.Measure StepPart.Student (fun () ->
                    wait 20
                    clock.Measure StepPart.Teacher (fun () -> wait 60)
                    clock.Measure StepPart.Teacher (fun () -> wait 20))

                Expect.isGreaterThanOrEqual (clock.SecondsOf StepPart.Teacher) 0.079 "inner"
                Expect.isGreaterThanOrEqual (clock.SecondsOf StepPart.Student) 0.019 "outer"

                Expect.isLessThanOrEqual
                    (clock.SecondsOf StepPart.Student + clock.SecondsOf StepPart.Teacher)
                    clock.Seconds
                    "together"

                Expect.isLessThan
                    (clock.SecondsOf StepPart.Student)
                    (clock.SecondsOf StepPart.Teacher)
                    "own time"

                Expect.equal (clock.SecondsOf StepPart.Data) 0.0 "nothing"
            }
        ]

let tests =
    testSequenced
    <| testList "training options" [ learning; stopping; starting; costs ]
