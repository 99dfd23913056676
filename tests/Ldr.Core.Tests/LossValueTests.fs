/// Losses and steps as values: their laws, and trainings with losses of one's own.
module Ldr.Core.Tests.LossValueTests

open System
open System.Threading
open Expecto
open FsCheck
open TorchSharp
open Ldr
open Ldr.TestKit.Helpers
open Ldr.Core.Tests.TensorSupport

/// A loss of a number, drawn: its terms' names, factors and weights.
type Drawn = (string * int * int) list

let private lossOf (drawn: Drawn) : Loss<float> =
    drawn
    |> List.map (fun (name, factor, weight) ->
        Loss.term name (fun (x: float) -> torch.tensor (x * float factor, dtype = torch.float64))
        |> Loss.times (float weight))
    |> Loss.sum

/// What can be seen of a loss at a place: every term, and the sum where there is any.
let private seen (loss: Loss<float>) (x: float) =
    use _ = torch.NewDisposeScope()
    let terms = loss x

    [
        for term in terms -> term.Name, term.Weight, number term.Value, number term.Counted
    ],
    if terms.IsEmpty then 0.0 else number (Loss.total terms)

let private places = [ -1.5; 0.0; 2.0 ]

let private same (a: Loss<float>) (b: Loss<float>) =
    places |> List.forall (fun x -> seen a x = seen b x)

/// The same sum, but for rounding.
let private alike (a: Loss<float>) (b: Loss<float>) =
    places
    |> List.forall (fun x ->
        let _, first = seen a x
        let _, second = seen b x
        abs (first - second) <= 1e-9 * (1.0 + abs first))

let private turn gamma =
    {
        Gamma = gamma
        DiscriminatorMoves = 0
    }

let private small =
    Architecture.Cascade
        {
            Affine = Some(AffineLight 2)
            Stages = 2
            Stage =
                Stage.LdrHalf
                    {
                        Encoder = [ 4; 4; 8; 8 ]
                        Decoder = [ 8; 4; 4 ]
                    }
        }

let private iteration gamma =
    let image seed =
        single seed (0.0, 1.0) [ 1; 1; 16; 16; 16 ]

    let student, teacher =
        Network.create (Seed.ofInt 1) small, Network.create (Seed.ofInt 2) small

    student, Iteration.ofTensors (turn gamma) student teacher (image 3) (image 4)

/// The gradient of a loss by all parameters of the student.
let private gradientOf (loss: Loss) : float[] =
    use _ = torch.NewDisposeScope()
    let student, iteration = iteration 0.4
    (Loss.total (loss iteration)).backward()

    [|
        for parameter in student.parameters () do
            match parameter.grad with
            | null -> ()
            | own -> yield! numbers own
    |]

let tests =
    testSequenced
    <| testList
        "losses as values"
        [
            testPropertyWithConfig few "losses are a monoid under plus, with none"
            <| fun (a: Drawn) (b: Drawn) (c: Drawn) ->
                let a, b, c = lossOf a, lossOf b, lossOf c

                same (a |> Loss.plus Loss.none) a
                && same (Loss.none |> Loss.plus a) a
                && same (a |> Loss.plus (b |> Loss.plus c)) (a |> Loss.plus b |> Loss.plus c)
                && same (Loss.sum [ a; b; c ]) (a |> Loss.plus b |> Loss.plus c)

            testPropertyWithConfig few "weights are linear"
            <| fun (a: Drawn) (b: Drawn) (v: int) (w: int) ->
                let a, b, v, w = lossOf a, lossOf b, float v, float w

                same (a |> Loss.times 1.0) a
                && same
                    (a |> Loss.plus b |> Loss.times v)
                    (a |> Loss.times v |> Loss.plus (b |> Loss.times v))
                && alike (a |> Loss.times v |> Loss.times w) (a |> Loss.times (v * w))
                && alike (a |> Loss.times v |> Loss.plus (a |> Loss.times w)) (a |> Loss.times (v + w))
                && alike (a |> Loss.times 0.0) Loss.none

            test "a weight is that of the sum and of the gradient" {
                let smooth, alike = Loss.smoothness, Loss.similarity Correlation

                let expected =
                    (gradientOf smooth, gradientOf alike)
                    ||> Array.map2 (fun s a -> 0.7 * s + 2.5 * a)

                let found =
                    smooth |> Loss.times 0.7 |> Loss.plus (alike |> Loss.times 2.5) |> gradientOf

                Expect.isGreaterThan (expected |> Array.map abs |> Array.max) 1e-4 "there is one"

                for e, f in Array.zip expected found do
                    Expect.isLessThan (abs (e - f)) 1e-5 "the gradient"
            }

            test "a loss may depend on the turn, be left out, be renamed, or only be told" {
                use _ = torch.NewDisposeScope()
                let _, iteration = iteration 0.4
                let alike = Loss.similarity Correlation

                let terms (loss: Loss) =
                    loss iteration |> List.map (fun t -> t.Name, t.Weight)

                let byGamma = alike |> Loss.timesBy (fun it -> 1.0 - it.Turn.Gamma)
                Expect.equal (terms byGamma) [ "similarity", 0.6 ] "1 − γ"
                Expect.equal (terms (alike |> Loss.where (fun it -> it.Turn.Gamma > 0.5))) [] "left out"
                Expect.equal (terms (alike |> Loss.named "x")) [ "x", 1.0 ] "renamed"

                let told = Loss.told "length" (fun it -> it.Student.Value.Field.norm ())

                Expect.equal (terms told) [ "length", 0.0 ] "told"

                Expect.equal
                    (number (Loss.total (alike |> Loss.plus told <| iteration)))
                    (number (Loss.total (alike iteration)))
                    "it does not count"

                Expect.throws (fun () -> Loss.total [] |> ignore) "nothing to lower"
            }

            test "labels and an affine stage have terms where they are there" {
                use _ = torch.NewDisposeScope()
                let _, bare = iteration 1.0
                Expect.isEmpty (Loss.dice bare @ Loss.labelDistance bare) "no labels"
                Expect.hasLength (Loss.determinant bare @ Loss.orthogonality bare) 2 "an affine stage"
                Expect.hasLength (Loss.smoothness bare) 2 "a field of each stage"
                let maps = bare.Fixed, bare.Moving

                let labelled =
                    { bare with
                        Labels = Some maps
                        Depths = Some maps
                    }

                Expect.hasLength (Loss.dice labelled @ Loss.labelDistance labelled) 2 "labels"
            }

            test "inverse consistency is how far points end from where they began" {
                use _ = torch.NewDisposeScope()
                let _, iteration = iteration 1.0
                let there = iteration.Student.Value

                let shift (x: float) =
                    torch.tensor([| x; 0.0; 0.0 |], dtype = torch.float32).view(1, 3, 1, 1, 1)

                let apart thereBy backBy =
                    let moved by =
                        lazy
                            { there with
                                Field = (shift by).expand_as(there.Field)
                            }

                    Loss.inverseConsistency
                        { iteration with
                            Student = moved thereBy
                            TurnedRound = moved backBy
                        }
                    |> List.map (fun term -> number term.Value)

                Expect.equal (apart 2.0 -2.0) [ 0.0 ] "there and back"
                Expect.equal (apart 2.0 1.0) [ 9.0 ] "3 voxels"

                let whole = Loss.total (Loss.inverseConsistency iteration)
                whole.backward ()
                Expect.isGreaterThan (number whole) 0.0 "a network at its start"
            }

            test "what an experiment says of a loss is the sum of such values" {
                use _ = torch.NewDisposeScope()
                let _, iteration = iteration 1.0

                let weights =
                    { LossWeights.standard with
                        Smoothness = 0.02
                        Bending = 0.3
                        LogJacobian = 0.4
                    }

                let byHand =
                    Loss.similarity Correlation
                    |> Loss.plus (Loss.smoothness |> Loss.times 0.02)
                    |> Loss.plus (Loss.bending |> Loss.times 0.3)
                    |> Loss.plus (Loss.logJacobian |> Loss.times 0.4)
                    |> Loss.plus (Loss.determinant |> Loss.times 0.1)
                    |> Loss.plus (Loss.orthogonality |> Loss.times 0.1)

                let terms (loss: Loss) =
                    loss iteration |> List.map (fun t -> t.Name, t.Weight, number t.Counted)

                Expect.equal (terms (Aldk.loss weights None)) (terms byHand) "the terms"
            }

            test "terms of the full loss: their weights times their values make the sum" {
                use _ = torch.NewDisposeScope()
                let _, iteration = iteration 0.3

                let distillation =
                    { Distillation.published with
                        FieldDistance = 1.5
                        FieldWeights = Strain
                        FieldDerivatives = 0.3
                        Discriminator =
                            { DiscriminatorOptions.published with
                                Widths = [ 4; 8 ]
                            }
                    }

                let adversary = Adversary.create (Seed.ofInt 5) distillation
                let terms = Aldk.loss LossWeights.standard (Some adversary) iteration
                let sum = terms |> List.sumBy (fun t -> t.Weight * number t.Value)
                Expect.floatClose Accuracy.medium (number (Loss.total terms)) sum "the sum"

                let weights = terms |> List.map (fun t -> t.Name, t.Weight) |> Map.ofList
                Expect.floatClose Accuracy.high weights["similarity"] 0.3 "γ"
                Expect.floatClose Accuracy.high weights["objective"] 0.7 "1 − γ"
                Expect.floatClose Accuracy.high weights["student_penalty"] 0.07 "(1 − γ) λ"
                Expect.floatClose Accuracy.high weights["distance"] (0.7 * 1.5) "(1 − γ) field_distance"
            }

            test "a step keeps garbage collections away by itself" {
                use _ = torch.NewDisposeScope()
                let student, iteration = iteration 1.0
                let seen = ResizeArray()

                let watching =
                    Loss.similarity Correlation
                    |> Loss.plus (
                        Loss.told "length" (fun it ->
                            seen.Add Runtime.GCSettings.LatencyMode
                            it.Student.Value.Field.norm ())
                    )

                Aldk.lowerBy (Learner.adam 1e-3 student) None watching 0 [ iteration ] |> ignore

                Expect.equal
                    (List.ofSeq seen)
                    [ Runtime.GCLatencyMode.NoGCRegion ]
                    "while the loss is worked out"

                Expect.notEqual
                    Runtime.GCSettings.LatencyMode
                    Runtime.GCLatencyMode.NoGCRegion
                    "and not after it"
            }

            testInFolder "a training repeats the step that it is given" (fun folder ->
                let weightsAfter name (step: TrainingOptions -> Players -> Step<Iteration list>) =
                    let job = TrainerTests.job (folder </> name) false CancellationToken.None ignore

                    match Trainer.run (step job.Options) job |> Error.orRaise with
                    | Finished(network, _) ->
                        use network = network
                        [| for parameter in network.parameters () -> numbers parameter |]
                    | Interrupted step -> failtest $"stopped at {step}"

                let ofLoss change (options: TrainingOptions) (players: Players) =
                    Aldk.loss options.Loss players.Adversary
                    |> change
                    |> Aldk.stepBy players.Student options.Clip players.Adversary

                let standard = weightsAfter "standard" Trainer.step
                Expect.equal (weightsAfter "same" (ofLoss id)) standard "its own loss, to the bit"

                let own = ofLoss (Loss.plus (Loss.bending |> Loss.times 5.0))
                Expect.notEqual (weightsAfter "own" own) standard "a loss of one's own"
                let mutable count = 0

                let counted (options: TrainingOptions) (players: Players) =
                    let count: Step<Iteration list> =
                        fun _ _ ->
                            count <- count + 1
                            []

                    Trainer.step options players |> Step.andThen count

                Expect.equal (weightsAfter "counted" counted) standard "a step beside it"
                let job = TrainerTests.job folder false CancellationToken.None ignore
                Expect.equal count job.Options.Steps "once each step")
        ]
