namespace Ldr

open System
open System.Globalization
open System.Text.Json
open System.Text.Json.Nodes

/// Reads a value at a path of a JSON document: the value, or everything that is wrong.
type Decoder<'a> = string -> JsonElement -> Result<'a, JsonProblem list>

/// What is to be said of one key of a JSON form.
type JsonKey =
    {
        /// Its place below the form, such as `loss.dice`; an item of a list is `[]`.
        Key: string
        /// The words of the unions that have it, such as `vtn`; nothing: it is always there.
        Cases: string list
        Type: string
        /// What is taken where it is not there: JSON, `required`, or `none`.
        Default: string
    }

/// What a codec takes, for people: its type, and the keys of its objects.
type JsonForm = { Type: string; Keys: JsonKey list }

/// How one type is written as JSON and read back: one value, so that the two cannot drift apart.
[<NoEquality; NoComparison>]
type Codec<'a> =
    {
        Encode: 'a -> JsonNode
        Decode: Decoder<'a>
        Form: JsonForm
    }

/// The fields of a JSON object on their way to a record's constructor (see `Codec.record`).
[<NoEquality; NoComparison>]
type Fields<'record, 'rest> =
    internal
        {
            Keys: string list
            Inside: JsonKey list
            Write: 'record -> (string * JsonNode) list
            Read: Decoder<'rest>
        }

module Codec =
    let internal problem path text =
        Error [ { Path = path; Problem = text } ]

    let internal describe (element: JsonElement) =
        match element.ValueKind with
        | JsonValueKind.Object -> "an object"
        | JsonValueKind.Array ->
            match element.GetArrayLength() with
            | 0 -> "an empty list"
            | count -> $"a list of {count}"
        | JsonValueKind.Null -> "null"
        | _ ->
            let text = element.GetRawText()

            if text.Length > 40 then
                text.Substring(0, 40) + "…"
            else
                text

    let internal expected what path element =
        problem path $"expected {what}, found {describe element}"

    /// Both, or the problems of both.
    let internal both (first: Result<'a -> 'b, JsonProblem list>) (second: Result<'a, JsonProblem list>) =
        match first, second with
        | Ok f, Ok x -> Ok(f x)
        | Error e, Ok _
        | Ok _, Error e -> Error e
        | Error e, Error e' -> Error(e @ e')

    /// The edit distance of two words (Levenshtein).
    let private distance (a: string) (b: string) =
        let mutable previous = [| 0 .. b.Length |]

        for i in 1 .. a.Length do
            let current = Array.zeroCreate (b.Length + 1)
            current[0] <- i

            for j in 1 .. b.Length do
                let change = if a[i - 1] = b[j - 1] then 0 else 1
                current[j] <- min (min (current[j - 1] + 1) (previous[j] + 1)) (previous[j - 1] + change)

            previous <- current

        previous[b.Length]

    /// The known word that somebody probably meant: `did you mean "x"?`, or the list of all.
    let suggestion (known: string list) (word: string) =
        let folded = word.ToLowerInvariant()

        let near =
            // A key of a hostile file may be a megabyte long.
            (if word.Length > 100 then [] else known)
            |> List.map (fun k -> distance folded (k.ToLowerInvariant()), k)
            |> List.filter (fun (d, k) -> d <= max 2 (k.Length / 3))
            |> List.sortBy fst

        match near with
        | (_, best) :: _ -> $"did you mean \"{best}\"?"
        | [] ->
            let list = known |> List.map (sprintf "\"%s\"") |> String.concat ", "
            $"known: {list}"

    let private plain what : JsonForm = { Type = what; Keys = [] }

    let private number what (tryGet: JsonElement -> bool * 'a) (encode: 'a -> JsonNode) : Codec<'a> =
        {
            Encode = encode
            Form = plain what
            Decode =
                fun path element ->
                    if element.ValueKind = JsonValueKind.Number then
                        match tryGet element with
                        | true, value -> Ok value
                        | _ -> expected what path element
                    else
                        expected what path element
        }

    let int: Codec<int> =
        number "a whole number" (fun e -> e.TryGetInt32()) (fun v -> JsonValue.Create v)

    let float: Codec<float> =
        number "a number" (fun e -> e.TryGetDouble()) (fun v -> JsonValue.Create v)

    let string: Codec<string> =
        {
            Form = plain "a text"
            Encode = fun v -> JsonValue.Create v |> nonNull :> JsonNode
            Decode =
                fun path element ->
                    if element.ValueKind = JsonValueKind.String then
                        try
                            Ok(element.GetString() |> nonNull)
                        with :? InvalidOperationException ->
                            problem path "is a text with half a character (a lone surrogate); write it anew"
                    else
                        expected "a text" path element
        }

    let bool: Codec<bool> =
        {
            Form = plain "true or false"
            Encode = fun v -> JsonValue.Create v
            Decode =
                fun path element ->
                    match element.ValueKind with
                    | JsonValueKind.True -> Ok true
                    | JsonValueKind.False -> Ok false
                    | _ -> expected "true or false" path element
        }

    /// Either of two forms of one type: `second` where the JSON or the value is of that kind.
    let either
        (isSecond: JsonElement -> bool)
        (writesSecond: 'a -> bool)
        (first: Codec<'a>)
        (second: Codec<'a>)
        : Codec<'a> =
        {
            Form =
                {
                    Type = [ first.Form.Type; second.Form.Type ] |> List.distinct |> String.concat "; or "
                    Keys = first.Form.Keys @ second.Form.Keys
                }
            Encode = fun value -> (if writesSecond value then second else first).Encode value
            Decode = fun path element -> (if isSecond element then second else first).Decode path element
        }

    let private below (prefix: string) (key: JsonKey) = { key with Key = prefix + key.Key }

    let list (item: Codec<'a>) : Codec<'a list> =
        {
            Form =
                {
                    Type = $"a list, each {item.Form.Type}"
                    Keys = item.Form.Keys |> List.map (below "[].")
                }
            Encode = fun values -> JsonArray(values |> List.map item.Encode |> Array.ofList)
            Decode =
                fun path element ->
                    if element.ValueKind = JsonValueKind.Array then
                        (Seq.indexed (element.EnumerateArray()), Ok [])
                        ||> Seq.foldBack (fun (i, e) rest ->
                            both (Result.map (fun x xs -> x :: xs) (item.Decode $"{path}[{i}]" e)) rest)
                    else
                        expected "a list" path element
        }

    /// Another type with the same JSON.
    let map (there: 'a -> 'b) (back: 'b -> 'a) (codec: Codec<'a>) : Codec<'b> =
        {
            Form = codec.Form
            Encode = back >> codec.Encode
            Decode = fun path element -> codec.Decode path element |> Result.map there
        }

    /// A further demand on the value, said as "expected …".
    let where (demand: string) (holds: 'a -> bool) (codec: Codec<'a>) : Codec<'a> =
        { codec with
            Form =
                { codec.Form with
                    Type =
                        if codec.Form.Keys.IsEmpty then
                            demand
                        else
                            $"{codec.Form.Type}; {demand}"
                }
            Decode =
                fun path element ->
                    match codec.Decode path element with
                    | Ok value when not (holds value) -> expected demand path element
                    | result -> result
        }

    let atLeastTwo = int |> where "a whole number, 2 or more" (fun v -> v >= 2)
    let positiveInt = int |> where "a whole number above 0" (fun v -> v > 0)
    let countingInt = int |> where "a whole number, 0 or more" (fun v -> v >= 0)

    let finite = float |> where "a finite number" Double.IsFinite

    let positive = finite |> where "a number above 0" (fun v -> v > 0.0)
    let notNegative = finite |> where "a number, 0 or more" (fun v -> v >= 0.0)

    let fraction =
        finite |> where "a number from 0 to 1" (fun v -> v >= 0.0 && v <= 1.0)

    /// A name that can be part of a file's name.
    let fileName =
        string
        |> where "a name of letters, digits, - and _" (fun name ->
            name <> ""
            && name |> Seq.forall (fun c -> Char.IsAsciiLetterOrDigit c || c = '-' || c = '_'))

    /// Three values, for the axes x, y, z.
    let triple (item: Codec<'a>) : Codec<'a * 'a * 'a> =
        let items = list item

        {
            Form = plain $"three, for x, y and z, each {item.Form.Type}"
            Encode = fun (x, y, z) -> items.Encode [ x; y; z ]
            Decode =
                fun path element ->
                    match items.Decode path element with
                    | Ok [ x; y; z ] -> Ok(x, y, z)
                    | Ok _ -> expected "a list of three, for x, y and z" path element
                    | Error e -> Error e
        }

    let private oneOf (words: string list) =
        words
        |> List.map (sprintf "\"%s\"")
        |> String.concat ", "
        |> sprintf "one of %s"

    /// A choice among words.
    let choice (words: (string * 'a) list) : Codec<'a> when 'a: equality =
        {
            Form = words |> List.map fst |> oneOf |> plain
            Encode = fun value -> words |> List.find (fun (_, v) -> v = value) |> fst |> string.Encode
            Decode =
                fun path element ->
                    match string.Decode path element with
                    | Error e -> Error e
                    | Ok word ->
                        match List.tryFind (fun (w, _) -> w = word) words with
                        | Some(_, value) -> Ok value
                        | None ->
                            problem path $"\"{word}\" is not known; {suggestion (List.map fst words) word}"
        }

    /// Starts an object from the constructor that takes its fields in order; `required` and `optional` add the fields,
    /// `seal` ends it.
    let record (construct: 'rest) : Fields<'record, 'rest> =
        {
            Keys = []
            Inside = []
            Write = fun _ -> []
            Read = fun _ _ -> Ok construct
        }

    let private field
        key
        (form: JsonForm)
        (fallback: string)
        (write: 'record -> (string * JsonNode) list)
        (read: string -> JsonElement option -> Result<'v, JsonProblem list>)
        fields
        =
        {
            Keys = fields.Keys @ [ key ]
            Inside =
                fields.Inside
                @ {
                    Key = key
                    Cases = []
                    Type = form.Type
                    Default = fallback
                  }
                  :: (form.Keys
                      |> List.map (fun inner ->
                          let dot = if inner.Key.StartsWith '[' then "" else "."
                          below (key + dot) inner))
            Write = fun record -> fields.Write record @ write record
            Read =
                fun path element ->
                    let value =
                        match element.TryGetProperty(key: string) with
                        | true, e -> read $"{path}.{key}" (Some e)
                        | _ -> read $"{path}.{key}" None

                    both (fields.Read path element) value
        }

    let private layout =
        JsonSerializerOptions(
            WriteIndented = true,
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping
        )

    let private compact =
        JsonSerializerOptions(Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping)

    /// A field that must be there.
    let required key (codec: Codec<'v>) (get: 'record -> 'v) (fields: Fields<'record, 'v -> 'rest>) =
        let read path element =
            match element with
            | Some e -> codec.Decode path e
            | None -> problem path "is missing"

        field key codec.Form "required" (fun record -> [ key, codec.Encode(get record) ]) read fields

    /// JSON for people, indented.
    let toText (codec: Codec<'a>) (value: 'a) =
        (codec.Encode value).ToJsonString layout

    /// JSON on one line.
    let toLine (codec: Codec<'a>) (value: 'a) =
        (codec.Encode value).ToJsonString compact

    /// A field with a default that depends on where the program runs, and what is said of it.
    let surrounding
        key
        (codec: Codec<'v>)
        (said: string)
        (fallback: 'v)
        (get: 'record -> 'v)
        (fields: Fields<'record, 'v -> 'rest>)
        =
        let read path element =
            match element with
            | Some e -> codec.Decode path e
            | None -> Ok fallback

        field key codec.Form said (fun record -> [ key, codec.Encode(get record) ]) read fields

    /// The shortest JSON that is read as a value: nothing that is a default itself.
    let private shortest (codec: Codec<'v>) (value: 'v) : string =
        let full = toLine codec value
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
            | Ok same -> toLine codec same = full
            | Error _ -> false)
        |> Option.defaultValue full

    /// A field with a default; it is always written, so that a resolved file shows every value.
    let optional key (codec: Codec<'v>) (fallback: 'v) (get: 'record -> 'v) fields =
        surrounding key codec (shortest codec fallback) fallback get fields

    /// A field that may be absent (or null).
    let maybe
        key
        (codec: Codec<'v>)
        (get: 'record -> 'v option)
        (fields: Fields<'record, 'v option -> 'rest>)
        =
        let read path (element: JsonElement option) =
            match element with
            | Some e when e.ValueKind <> JsonValueKind.Null -> codec.Decode path e |> Result.map Some
            | _ -> Ok None

        field
            key
            codec.Form
            "none"
            (fun record -> get record |> Option.toList |> List.map (fun v -> key, codec.Encode v))
            read
            fields

    let private strangers keys path (element: JsonElement) =
        [
            for property in element.EnumerateObject() do
                if not (List.contains property.Name keys) then
                    {
                        Path = $"{path}.{property.Name}"
                        Problem = $"is not a known key; {suggestion keys property.Name}"
                    }
        ]

    let private toObject (pairs: (string * JsonNode) list) : JsonNode =
        let node = JsonObject()

        for key, value in pairs do
            node.Add(key, value)

        node

    let private decodeFields extraKeys (fields: Fields<'record, 'a>) path (element: JsonElement) =
        if element.ValueKind <> JsonValueKind.Object then
            expected "an object" path element
        else
            match strangers (extraKeys @ fields.Keys) path element, fields.Read path element with
            | [], result -> result
            | unknown, Ok _ -> Error unknown
            | unknown, Error problems -> Error(unknown @ problems)

    /// Ends an object: unknown keys are problems, with a suggestion.
    let seal (fields: Fields<'record, 'record>) : Codec<'record> =
        {
            Form =
                {
                    Type = "an object"
                    Keys = fields.Inside
                }
            Encode = fields.Write >> toObject
            Decode = decodeFields [] fields
        }

    /// Ends an object of somebody else's file, which may have more keys than are read.
    let lenient (fields: Fields<'record, 'record>) : Codec<'record> =
        {
            Form =
                {
                    Type = "an object"
                    Keys = fields.Inside
                }
            Encode = fields.Write >> toObject
            Decode =
                fun path element ->
                    if element.ValueKind = JsonValueKind.Object then
                        fields.Read path element
                    else
                        expected "an object" path element
        }

    /// Any JSON, as it is.
    let any: Codec<JsonElement> =
        {
            Form = plain "anything"
            Encode = fun element -> JsonNode.Parse(element.GetRawText()) |> nonNull
            Decode = fun _ element -> Ok element
        }

    /// A case of a union: its word, its fields, and the record or tuple to and from the union.
    [<NoEquality; NoComparison>]
    type Case<'union> =
        internal
            {
                Word: string
                CaseKeys: JsonKey list
                EncodeCase: 'union -> (string * JsonNode) list option
                DecodeCase: string -> Decoder<'union>
            }

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
            DecodeCase = fun tag path element -> decodeFields [ tag ] fields path element |> Result.map wrap
        }

    /// A union as an object whose field `tag` names the case. A case whose fields all have defaults may also be written as
    /// its bare word.
    let union (tag: string) (cases: Case<'union> list) : Codec<'union> =
        let words = cases |> List.map (fun c -> c.Word)
        let empty = JsonDocument.Parse("{}").RootElement

        let find path word =
            match cases |> List.tryFind (fun c -> c.Word = word) with
            | Some case -> Ok case
            | None -> problem path $"\"{word}\" is not known; {suggestion words word}"

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
                            Type = oneOf words
                            Default = "required"
                        }
                        :: keys
                }
            Encode =
                fun value ->
                    cases
                    |> List.pick (fun c -> c.EncodeCase value |> Option.map (fun fields -> c.Word, fields))
                    |> fun (word, fields) -> toObject ((tag, string.Encode word) :: fields)
            Decode =
                fun path element ->
                    match element.ValueKind with
                    | JsonValueKind.String ->
                        string.Decode path element
                        |> Result.bind (find path)
                        |> Result.bind (fun c -> c.DecodeCase tag path empty)
                    | JsonValueKind.Object ->
                        match element.TryGetProperty tag with
                        | true, word ->
                            string.Decode $"{path}.{tag}" word
                            |> Result.bind (find $"{path}.{tag}")
                            |> Result.bind (fun c -> c.DecodeCase tag path element)
                        | _ -> problem $"{path}.{tag}" $"is missing; {suggestion words String.Empty}"
                    | _ -> expected $"an object with \"{tag}\", or one of its words" path element
        }

    /// A number of a report: JSON has no NaN and no infinity, they become null.
    let finiteOrNull (value: float) : JsonNode | null =
        if Double.IsFinite value then
            JsonValue.Create value
        else
            null

    /// The same with 6 decimals.
    let rounded (value: float) : JsonNode | null = finiteOrNull (Math.Round(value, 6))


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

    /// A value from an element, with every problem at once.
    let decode (file: string) (codec: Codec<'a>) (element: JsonElement) : Result<'a, Error> =
        codec.Decode "$" element
        |> Result.mapError (fun problems -> BadJson(file, problems))

    /// A value from a text.
    let ofText (file: string) (codec: Codec<'a>) (text: string) : Result<'a, Error> =
        parse file text |> Result.bind (decode file codec)

    /// A value from a file.
    let ofFile (file: string) (codec: Codec<'a>) : Result<'a, Error> =
        Error.guard (fun () -> IO.File.ReadAllText file)
        |> Result.bind (ofText file codec)
