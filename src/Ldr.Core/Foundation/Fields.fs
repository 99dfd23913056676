namespace Ldr

open System.Text.Json
open System.Text.Json.Nodes

/// What is read from and written as one or more keys of a JSON object: decoded it is a 'value, encoded it is taken from a
/// 'record.
[<NoEquality; NoComparison>]
type Fields<'record, 'value> =
    internal
        {
            Keys: string list
            Inside: JsonKey list
            Write: 'record -> (string * JsonNode) list
            Read: Decoder<'value>
        }

module Fields =
    /// No key at all.
    let none: Fields<unit, unit> =
        {
            Keys = []
            Inside = []
            Write = fun () -> []
            Read = fun _ _ -> Ok()
        }

    let internal one
        (key: string)
        (form: JsonForm)
        (fallback: string)
        (write: 'record -> (string * JsonNode) list)
        (read: string -> JsonElement option -> Result<'value, JsonProblem list>)
        : Fields<'record, 'value> =
        let own =
            {
                Key = key
                Cases = []
                Type = form.Type
                Default = fallback
            }

        let inner =
            form.Keys
            |> List.map (fun inner ->
                let dot = if inner.Key.StartsWith '[' then "" else "."
                Codec.below (key + dot) inner)

        {
            Keys = [ key ]
            Inside = own :: inner
            Write = write
            Read =
                fun path element ->
                    match element.TryGetProperty key with
                    | true, e -> read $"{path}.{key}" (Some e)
                    | _ -> read $"{path}.{key}" None
        }

    let internal map (there: 'a -> 'b) (fields: Fields<'record, 'a>) : Fields<'record, 'b> =
        {
            Keys = fields.Keys
            Inside = fields.Inside
            Write = fields.Write
            Read = fun path element -> fields.Read path element |> Result.map there
        }

    /// The keys of both, in their order; the problems of both.
    let internal both (first: Fields<'record, 'a>) (second: Fields<'record, 'b>) : Fields<'record, 'a * 'b> =
        {
            Keys = first.Keys @ second.Keys
            Inside = first.Inside @ second.Inside
            Write = fun record -> first.Write record @ second.Write record
            Read =
                fun path element ->
                    Codec.both
                        (first.Read path element |> Result.map (fun a b -> a, b))
                        (second.Read path element)
        }

    let private strangers keys path (element: JsonElement) =
        [
            for property in element.EnumerateObject() do
                if not (List.contains property.Name keys) then
                    {
                        Path = $"{path}.{property.Name}"
                        Problem = $"is not a known key; {Suggestion.among keys property.Name}"
                    }
        ]

    let internal toObject (pairs: (string * JsonNode) list) : JsonNode =
        let node = JsonObject()

        for key, value in pairs do
            node.Add(key, value)

        node

    let internal decode extraKeys (fields: Fields<'record, 'a>) path (element: JsonElement) =
        if element.ValueKind <> JsonValueKind.Object then
            Codec.expected "an object" path element
        else
            match strangers (extraKeys @ fields.Keys) path element, fields.Read path element with
            | [], result -> result
            | unknown, Ok _ -> Error unknown
            | unknown, Error problems -> Error(unknown @ problems)

    let private asObject (decode: Decoder<'record>) (fields: Fields<'record, 'record>) : Codec<'record> =
        {
            Form =
                {
                    Type = "an object"
                    Keys = fields.Inside
                }
            Encode = fields.Write >> toObject
            Decode = decode
        }

    /// An object with these keys: unknown ones are problems, with a suggestion.
    let seal (fields: Fields<'record, 'record>) : Codec<'record> = fields |> asObject (decode [] fields)

    /// An object of somebody else's file, which may have more keys than are read.
    let lenient (fields: Fields<'record, 'record>) : Codec<'record> =
        fields
        |> asObject (fun path element ->
            if element.ValueKind = JsonValueKind.Object then
                fields.Read path element
            else
                Codec.expected "an object" path element)

/// Joins fields by names: `let! a = … and! b = … return …`. Each binding is one key; `return` makes the value from what was
/// read, and the getter of each key says what is written.
type FieldsBuilder() =
    member _.MergeSources(first: Fields<'record, 'a>, second: Fields<'record, 'b>) = Fields.both first second
    member _.BindReturn(fields: Fields<'record, 'a>, make: 'a -> 'b) = Fields.map make fields

/// The same, as an object with no other keys.
type CodecBuilder() =
    inherit FieldsBuilder()
    member _.Run(fields: Fields<'record, 'record>) = Fields.seal fields

/// The same, as an object that may have other keys.
type LenientBuilder() =
    inherit FieldsBuilder()
    member _.Run(fields: Fields<'record, 'record>) = Fields.lenient fields

/// How codecs of records are written.
[<AutoOpen>]
module CodecBuilders =
    /// Keys of an object, such as those of a case of a union.
    let fields = FieldsBuilder()

    /// An object: unknown keys are problems, with a suggestion.
    let codec = CodecBuilder()

    /// An object of somebody else's file, which may have more keys than are read.
    let lenient = LenientBuilder()

    /// A key that must be there.
    let required (key: string) (codec: Codec<'v>) (get: 'record -> 'v) : Fields<'record, 'v> =
        Fields.one
            key
            codec.Form
            "required"
            (fun record -> [ key, codec.Encode(get record) ])
            (fun path element ->
                match element with
                | Some e -> codec.Decode path e
                | None -> Codec.problem path "is missing")

    /// A key with a default that depends on where the program runs, and what is said of it.
    let surrounding
        (key: string)
        (codec: Codec<'v>)
        (said: string)
        (fallback: 'v)
        (get: 'record -> 'v)
        : Fields<'record, 'v> =
        Fields.one key codec.Form said (fun record -> [ key, codec.Encode(get record) ]) (fun path element ->
            match element with
            | Some e -> codec.Decode path e
            | None -> Ok fallback)

    /// The shortest JSON that is read as a value: nothing that is a default itself.
    let private shortest (codec: Codec<'v>) (value: 'v) : string =
        let full = Codec.toLine codec value
        let document = JsonDocument.Parse(full).RootElement

        let shorter =
            if document.ValueKind = JsonValueKind.Object then
                "{}"
                :: [ for property in document.EnumerateObject() -> property.Value.GetRawText() ]
            else
                []

        shorter
        |> List.tryFind (fun text ->
            match codec.Decode "$" (JsonDocument.Parse(text).RootElement) with
            | Ok same -> Codec.toLine codec same = full
            | Error _ -> false)
        |> Option.defaultValue full

    /// A key with a default; it is always written, so that a resolved file shows every value.
    let optional (key: string) (codec: Codec<'v>) (fallback: 'v) (get: 'record -> 'v) : Fields<'record, 'v> =
        surrounding key codec (shortest codec fallback) fallback get

    /// A key that came after files were written without it: it is written only where it is not what those meant, so that they
    /// and their digests stay as they were.
    let added (key: string) (codec: Codec<'v>) (fallback: 'v) (get: 'record -> 'v) : Fields<'record, 'v> =
        let write record =
            match get record with
            | value when value = fallback -> []
            | value -> [ key, codec.Encode value ]

        { optional key codec fallback get with
            Write = write
        }

    /// A key that may be absent (or null).
    let maybe (key: string) (codec: Codec<'v>) (get: 'record -> 'v option) : Fields<'record, 'v option> =
        let write record =
            get record |> Option.toList |> List.map (fun v -> key, codec.Encode v)

        Fields.one key codec.Form "none" write (fun path element ->
            match element with
            | Some e when e.ValueKind <> JsonValueKind.Null -> codec.Decode path e |> Result.map Some
            | _ -> Ok None)
