namespace Ldr

open FsToolkit.ErrorHandling

/// The model that a training starts from.
module StartModel =
    /// How a line of a model's card begins that says what its training started from.
    let origin = "started from "

    /// Whether weights of the architecture `holds` can start a training of `wanted`; `start` is named in the message.
    let fits (start: string) (holds: Architecture) (wanted: Architecture) : Result<unit, Error> =
        if holds = wanted then
            Ok()
        else
            Error(
                BadFile(
                    start,
                    $"holds {Architecture.describe holds}, the training has {Architecture.describe wanted}",
                    "give both the same \"architecture\""
                )
            )

    /// What is wrong with a model as the start of a training of an architecture, if anything; it is not read to its end.
    let check (start: string) (architecture: Architecture) : Result<ModelCard * string, Error> =
        result {
            let! path = ModelFile.resolve start
            let! card, _ = ModelFile.inspect path
            do! fits start card.Architecture architecture
            return card, path
        }

    /// The model, if it is one of that architecture.
    let read (start: string) (architecture: Architecture) : Result<Model, Error> =
        check start architecture |> Result.bind (fun (_, path) -> ModelFile.read path)
