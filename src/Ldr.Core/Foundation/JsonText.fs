namespace Ldr

open System
open System.Text.Json

/// From texts to JSON.
module JsonText =
    /// How every JSON text is read: comments and a last comma are welcome.
    let internal reading =
        JsonDocumentOptions(CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true)

    /// Keys that an object has twice, anywhere in the document.
    let rec private repeated path (element: JsonElement) : JsonProblem list =
        match element.ValueKind with
        | JsonValueKind.Object ->
            let properties = List.ofSeq (element.EnumerateObject())

            [
                for key, count in properties |> List.countBy _.Name do
                    if count > 1 then
                        {
                            Path = $"{path}.{key}"
                            Problem = $"is there {count} times; keep one"
                        }
                for property in properties do
                    yield! repeated $"{path}.{property.Name}" property.Value
            ]
        | JsonValueKind.Array ->
            [
                for index, item in Seq.indexed (element.EnumerateArray()) do
                    yield! repeated $"{path}[{index}]" item
            ]
        | _ -> []

    /// Parses a text; `file` is for the messages.
    let parse (file: string) (text: string) : Result<JsonElement, Error> =
        try
            let element = JsonDocument.Parse(text, reading).RootElement

            match repeated "$" element with
            | [] -> Ok element
            | problems -> Error(BadJson(file, problems))
        with
        | :? JsonException as e ->
            let line = e.LineNumber.GetValueOrDefault() + 1L
            let reason = (e.Message.Split("LineNumber")[0]).Trim().TrimEnd('.')
            Error(BadFile(file, $"line {line} is not valid JSON: {reason}", "mend that line"))
        | :? InvalidOperationException ->
            // Thrown for a key that is not valid UTF-16.
            Error(BadFile(file, "has a key with half a character (a lone surrogate)", "write it anew"))
