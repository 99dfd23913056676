namespace Ldr

open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Formats
open Ldr.Runtime.Metrics

/// The scores of a run's models on the test pairs.
module internal RunScoring =
    let private nameOf (instance: Instance) (part: string) =
        if part = "" then
            instance.Name
        else
            $"{instance.Name}, {part}"

    /// The errors of a model against known fields, if the experiment asks for them.
    let private knownFields (plan: RunPlan) (model: Model) (test: EvaluationSet) : KnownFieldError list =
        let evaluation = plan.Experiment.Evaluation

        match evaluation.KnownField with
        | None -> []
        | Some amplitude ->
            let options = KnownFieldOptions(AmplitudeMm = amplitude, Seed = evaluation.Seed)

            Evaluator.registeringBy plan.Options.Device model plan.Options.Stop (fun register ->
                Evaluator.knownFields register options test plan.Options.Stop)

    /// Scores a training's model on every test part that has no scores of it yet.
    let run (plan: RunPlan) (data: RunData) (instance: Instance) : Result<unit, Error> =
        result {
            let options = plan.Options
            let! model = ModelFile.readTo options.Device (plan.ModelPath instance)
            use _ = model.Network
            let parameters, macs = ModelFile.sizeOf model.Card

            for part, test in data.Tests do
                let path = RunFolder.scorePath options.Folder instance.Name part

                if not (File.Exists path) then
                    let progress pair pairs =
                        options.Sink(Scoring(nameOf instance part, pair, pairs))

                    let sheet =
                        {
                            Parameters = parameters
                            Macs = macs
                            MadeBy = Some(Experiment.instanceDigest plan.Experiment instance)
                            Scores = Evaluator.model options.Device model test options.Stop progress
                            KnownFields = knownFields plan model test
                        }

                    AtomicFile.WriteText(path, Codec.toLine Scores.sheet sheet + "\n")
        }
