namespace Ldr

/// Named numbers that a step reports.
type Metrics = (string * float) list

/// What happens in one step of a training: it is told the step's index (from 0) and its context, acts on what it holds, and
/// reports numbers. Steps form a monoid under `andThen` with `nothing`.
type Step<'context> = int -> 'context -> Metrics

module Step =
    /// Does nothing and reports nothing.
    let nothing: Step<'context> = fun _ _ -> []

    /// One step, then the other: `first |> andThen second`.
    let andThen (second: Step<'context>) (first: Step<'context>) : Step<'context> =
        fun index context ->
            let reported = first index context
            reported @ second index context

    /// Several steps in their order.
    let all (steps: Step<'context> list) : Step<'context> =
        (nothing, steps) ||> List.fold (fun before step -> before |> andThen step)

module Metrics =
    /// The means of several reports, in the order of their first appearance.
    let average (reports: Metrics seq) : Metrics =
        let all = Seq.concat reports |> List.ofSeq

        [
            for name in all |> List.map fst |> List.distinct do
                name, all |> List.filter (fun (n, _) -> n = name) |> List.averageBy snd
        ]
