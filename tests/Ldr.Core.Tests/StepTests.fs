module Ldr.Core.Tests.StepTests

open Expecto
open Ldr

/// A step that reports its name, the index and what it was given.
let private named (name: string) : Step<int> =
    fun index context -> [ $"{name}-{index}", float context ]

let private schedule =
    [
        {
            Steps = Some 6
            Cycle = [ 1.0; 1.0; 0.3 ]
            DiscriminatorMoves = None
        }
        {
            Steps = None
            Cycle = [ 1.0; 0.5 ]
            DiscriminatorMoves = Some [ 0; 5 ]
        }
    ]

let tests =
    testList
        "steps"
        [
            testProperty "steps are a monoid under andThen"
            <| fun (a: string) (b: string) (c: string) (index: int) (context: int) ->
                let a, b, c = named a, named b, named c
                let same (x: Step<int>) (y: Step<int>) = x index context = y index context

                same (a |> Step.andThen Step.nothing) a
                && same (Step.nothing |> Step.andThen a) a
                && same (a |> Step.andThen (b |> Step.andThen c)) (a |> Step.andThen b |> Step.andThen c)
                && same (Step.all [ a; b; c ]) (a |> Step.andThen b |> Step.andThen c)
            test "andThen acts in the order of reading" {
                let order = ResizeArray()

                let act name : Step<unit> =
                    fun _ () ->
                        order.Add name
                        []

                (act "first" |> Step.andThen (act "second")) 0 () |> ignore
                Expect.equal (List.ofSeq order) [ "first"; "second" ] "order"
            }
            test "a schedule repeats each cycle, phase after phase" {
                let turns = List.init 10 (Schedule.at schedule)

                Expect.equal
                    (turns |> List.map _.Gamma)
                    [ 1.0; 1.0; 0.3; 1.0; 1.0; 0.3; 1.0; 0.5; 1.0; 0.5 ]
                    "γ"

                Expect.equal
                    (turns |> List.map _.DiscriminatorMoves)
                    [ 0; 0; 1; 0; 0; 1; 0; 5; 0; 5 ]
                    "once where γ < 1, or as it is told"
            }
            test "a phase counts its cycle from its own start" {
                let phase steps cycle =
                    {
                        Steps = steps
                        Cycle = cycle
                        DiscriminatorMoves = None
                    }

                let schedule =
                    [ phase (Some 5) [ 1.0 ]; phase (Some 3) [ 0.2; 0.4 ]; phase None [ 0.6; 0.8 ] ]

                Expect.equal
                    (List.init 11 (Schedule.at schedule >> _.Gamma) |> List.skip 4)
                    [ 1.0; 0.2; 0.4; 0.2; 0.6; 0.8; 0.6 ]
                    "γ"
            }
            test "the average's decay rises from a tenth to its own" {
                for move, decay in [ 0, 0.1; 8, 0.5; 80, 0.9; 1000, 0.9 ] do
                    Expect.floatClose Accuracy.high (WeightAverage.decayAt 0.9 move) decay $"move {move}"
            }
            test "only a higher Dice is better, and patience counts the others" {
                let first = EarlyStopping.after 10 0.5 None
                let same = EarlyStopping.after 20 0.5 (Some first)
                let worse = EarlyStopping.after 30 0.4 (Some same)
                let better = EarlyStopping.after 40 0.6 (Some worse)
                Expect.equal first { Dice = 0.5; Step = 10; Since = 0 } "the first"
                Expect.equal same { first with Since = 1 } "as good"
                Expect.equal worse { first with Since = 2 } "worse"
                Expect.equal better { Dice = 0.6; Step = 40; Since = 0 } "better"
                Expect.isFalse (EarlyStopping.isOver (Some 2) (Some same)) "patient"
                Expect.isTrue (EarlyStopping.isOver (Some 2) (Some worse)) "no more"
                Expect.isFalse (EarlyStopping.isOver None (Some worse)) "for ever"
            }
            test "after the last phase the student learns alone" {
                Expect.equal
                    (Schedule.at (List.truncate 1 schedule) 6)
                    { Gamma = 1.0; DiscriminatorMoves = 0 }
                    "turn"
            }
            test "a schedule as JSON and back, and what is refused" {
                let read = Codec.ofText "test.json" Schedule.codec
                Expect.equal (read (Codec.toLine Schedule.codec schedule)) (Ok schedule) "back"

                Expect.isError
                    (read """[{ "cycle": [1, 0.5], "discriminator_moves": [1] }]""")
                    "lengths differ"

                Expect.isError (read """[{ "cycle": [] }]""") "an empty cycle"
            }
            test "the reference's schedule considers the generator twice as often, until step 8000" {
                let gammas = List.init 9000 (Schedule.at Schedule.reference >> _.Gamma)

                Expect.equal
                    (gammas |> List.take 8000 |> List.filter (fun g -> g = 0.3) |> List.length)
                    2666
                    "a third"

                Expect.isTrue (gammas |> List.skip 8000 |> List.forall (fun g -> g = 1.0)) "then alone"
            }
            test "the cosine falls from the initial rate to zero" {
                let rate =
                    {
                        Initial = 1e-3
                        Decay = Cosine
                        Cycles = 1
                    }

                Expect.floatClose Accuracy.high (LearningRate.at 100 0 rate) 1e-3 "first"
                Expect.floatClose Accuracy.high (LearningRate.at 100 50 rate) 5e-4 "middle"
                Expect.floatClose Accuracy.high (LearningRate.at 100 100 rate) 0.0 "end"
            }
            test "with restarts it does so in every part" {
                let rate =
                    {
                        Initial = 1e-3
                        Decay = Cosine
                        Cycles = 2
                    }

                Expect.floatClose Accuracy.high (LearningRate.at 100 25 rate) 5e-4 "middle of the first"
                Expect.isLessThan (LearningRate.at 100 49 rate) 1e-5 "end of the first"
                Expect.floatClose Accuracy.high (LearningRate.at 100 50 rate) 1e-3 "start of the second"
                Expect.floatClose Accuracy.high (LearningRate.at 100 75 rate) 5e-4 "middle of the second"
            }
            test "the watchdog's bounds are those that its messages name" {
                let kinds metrics =
                    Watchdog.warnings metrics |> List.map fst

                let both value =
                    [ "judged_student", value; "judged_teacher", value ]

                for metrics, wrong, fine in
                    [
                        (fun v -> [ "length", v ]), 0.049, 0.051
                        both, 0.019, 0.021
                        both, 0.981, 0.979
                        (fun v -> [ "gradient_norm", v ]), 0.009, 0.011
                        (fun v -> [ "gradient_norm", v ]), 10.1, 9.9
                    ] do
                    Expect.equal (kinds (metrics wrong)).Length 1 $"{metrics wrong}"
                    Expect.equal (kinds (metrics fine)) [] $"{metrics fine}"
            }
            test "the watchdog barks at what is wrong, and at nothing else" {
                let kinds metrics =
                    Watchdog.warnings metrics |> List.map fst

                Expect.equal (kinds []) [] "nothing known"

                Expect.equal
                    (kinds
                        [
                            "length", 1.0
                            "judged_student", 0.4
                            "judged_teacher", 0.5
                            "gradient_norm", 1.0
                        ])
                    []
                    "all is well"

                Expect.equal (kinds [ "length", 0.01 ]) [ "identity" ] "no deformation"

                for value in [ 0.001; 0.999 ] do
                    Expect.equal
                        (kinds [ "judged_student", value; "judged_teacher", value ])
                        [ "saturation" ]
                        "both at one end"

                Expect.equal (kinds [ "judged_student", 0.001; "judged_teacher", 0.999 ]) [] "told apart"

                for norm in [ 1e-3; 100.0 ] do
                    Expect.equal (kinds [ "gradient_norm", norm ]) [ "slope" ] "outside the band"
            }
        ]
