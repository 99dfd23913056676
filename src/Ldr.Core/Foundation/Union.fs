namespace Ldr

open System
open System.Text.Json
open System.Text.Json.Nodes

/// A case of a union: its word, its fields, and the record or tuple to and from the union.
[<NoEquality; NoComparison>]
type UnionCase<'union> =
    internal
        {
            Word: string
            CaseKeys: JsonKey list
            EncodeCase: 'union -> (string * JsonNode) list option
            DecodeCase: string -> Decoder<'union>
        }

module Union =
    let case
        word
        (fields: Fields<'payload, 'payload>)
        (wrap: 'payload -> 'union)
        (unwrap: 'union -> 'payload option)
        =
        {
            Word = word
            CaseKeys = fields.Inside
            EncodeCase = unwrap >> Option.map fields.Write
            DecodeCase = fun tag path element -> Fields.decode [ tag ] fields path element |> Result.map wrap
        }

    /// A union as an object whose field `tag` names the case. A case whose fields all have defaults may also be written as
    /// its bare word.
    let codec (tag: string) (cases: UnionCase<'union> list) : Codec<'union> =
        let words = cases |> List.map (fun c -> c.Word)
        let empty = JsonDocument.Parse("{}").RootElement

        let find path word =
            match cases |> List.tryFind (fun c -> c.Word = word) with
            | Some case -> Ok case
            | None -> Codec.problem path $"\"{word}\" is not known; {Suggestion.among words word}"

        let keys =
            // A key that several cases have in the same way is said once.
            cases
            |> List.collect (fun c -> c.CaseKeys |> List.map (fun key -> c.Word, key))
            |> List.groupBy snd
            |> List.map (fun (key, own) ->
                if key.Cases.IsEmpty then
                    { key with Cases = own |> List.map fst }
                else
                    key)

        {
            Form =
                {
                    Type = "an object, or its word alone"
                    Keys =
                        {
                            Key = tag
                            Cases = []
                            Type = Codec.oneOf words
                            Default = "required"
                        }
                        :: keys
                }
            Encode =
                fun value ->
                    cases
                    |> List.pick (fun c -> c.EncodeCase value |> Option.map (fun fields -> c.Word, fields))
                    |> fun (word, fields) -> Fields.toObject ((tag, Codec.string.Encode word) :: fields)
            Decode =
                fun path element ->
                    match element.ValueKind with
                    | JsonValueKind.String ->
                        Codec.string.Decode path element
                        |> Result.bind (find path)
                        |> Result.bind (fun c -> c.DecodeCase tag path empty)
                    | JsonValueKind.Object ->
                        match element.TryGetProperty tag with
                        | true, word ->
                            Codec.string.Decode $"{path}.{tag}" word
                            |> Result.bind (find $"{path}.{tag}")
                            |> Result.bind (fun c -> c.DecodeCase tag path element)
                        | _ ->
                            Codec.problem $"{path}.{tag}" $"is missing; {Suggestion.among words String.Empty}"
                    | _ -> Codec.expected $"an object with \"{tag}\", or one of its words" path element
        }
