module Ldr.Tests.Core.StepTests

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
        }
        { Steps = None; Cycle = [ 1.0; 0.5 ] }
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
            testProperty "every n acts on each n-th step, from the first"
            <| fun (n: FsCheck.PositiveInt) (index: FsCheck.NonNegativeInt) ->
                let acted = (named "s" |> Step.every n.Get) index.Get 0 |> List.isEmpty |> not
                acted = (index.Get % n.Get = 0)
            testProperty "onlyWhen asks the context"
            <| fun (context: int) ->
                let acted =
                    (named "s" |> Step.onlyWhen (fun c -> c > 3)) 0 context |> List.isEmpty |> not

                acted = (context > 3)
            test "a schedule repeats each cycle, phase after phase" {
                let gammas = List.init 10 (Schedule.gamma schedule)
                Expect.equal gammas [ 1.0; 1.0; 0.3; 1.0; 1.0; 0.3; 1.0; 0.5; 1.0; 0.5 ] "γ"
            }
            test "after the last phase γ is 1" {
                Expect.equal (Schedule.gamma [ { Steps = Some 2; Cycle = [ 0.2 ] } ] 2) 1.0 "γ"
            }
            test "the reference's schedule considers the generator twice as often, until step 8000" {
                let gammas = List.init 9000 (Schedule.gamma Schedule.reference)

                Expect.equal
                    (gammas |> List.take 8000 |> List.filter (fun g -> g = 0.3) |> List.length)
                    2666
                    "a third"

                Expect.isTrue (gammas |> List.skip 8000 |> List.forall (fun g -> g = 1.0)) "then alone"
            }
            test "the cosine falls from the initial rate to zero" {
                let rate = { Initial = 1e-3; Decay = Cosine }
                Expect.floatClose Accuracy.high (LearningRate.at 100 0 rate) 1e-3 "first"
                Expect.floatClose Accuracy.high (LearningRate.at 100 50 rate) 5e-4 "middle"
                Expect.floatClose Accuracy.high (LearningRate.at 100 100 rate) 0.0 "end"
            }
        ]
