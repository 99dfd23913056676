namespace Ldr

/// The model that a training starts from.
module StartModel =
    /// What is wrong with a model as the start of a training of an architecture, if anything; it is not read to its end.
    let check (start: string) (architecture: Architecture) : Result<ModelCard * string, Error> =
        ModelFile.resolve start
        |> Result.bind (fun path ->
            ModelFile.inspect path
            |> Result.bind (fun (card, _) ->
                if card.Architecture = architecture then
                    Ok(card, path)
                else
                    Error(
                        BadFile(
                            start,
                            $"holds {Architecture.describe card.Architecture}, the training has {Architecture.describe architecture}",
                            "give both the same \"architecture\""
                        )
                    )))

    /// The model, if it is one of that architecture.
    let read (start: string) (architecture: Architecture) : Result<Model, Error> =
        check start architecture |> Result.bind (fun (_, path) -> ModelFile.read path)
