namespace Ldr

open System
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

    let internal plain what : JsonForm = { Type = what; Keys = [] }

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

    let internal below (prefix: string) (key: JsonKey) = { key with Key = prefix + key.Key }

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

    let atLeastTwo =
        int
        |> where "a whole number from 2 to 1000000" (fun v -> v >= 2 && v <= 1_000_000)

    let positiveInt = int |> where "a whole number above 0" (fun v -> v > 0)
    let countingInt = int |> where "a whole number, 0 or more" (fun v -> v >= 0)

    /// A number of things that are held in memory: subjects, pairs, batches.
    let count =
        int
        |> where "a whole number from 1 to 1000000" (fun v -> v > 0 && v <= 1_000_000)

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

    let internal oneOf (words: string list) =
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
                            problem
                                path
                                $"\"{word}\" is not known; {Suggestion.among (List.map fst words) word}"
        }

    /// Lays an object over another: what both have is the upper one's, but for objects, which are laid over each other too.
    let rec private overlay (lower: JsonObject) (upper: JsonObject) : unit =
        for pair in upper do
            match lower[pair.Key], pair.Value with
            | (:? JsonObject as own), (:? JsonObject as other) -> overlay own other
            | _, Null -> lower[pair.Key] <- null
            | _, NonNull value -> lower[pair.Key] <- value.DeepClone()

    /// An object that may start from a value with a name, by a key of its own: the value's keys are taken (but for those of
    /// `without`), the object's are laid over them, and the whole is read. What is written is full, so the codec of the object never
    /// writes that key.
    let preset
        (key: string)
        (values: (string * 'a) list)
        (without: string list)
        (codec: Codec<'a>)
        : Codec<'a> =
        let names = choice [ for name, _ in values -> name, name ]

        let whole (name: string) (element: JsonElement) : JsonElement =
            let _, value = values |> List.find (fun (n, _) -> n = name)
            let node = (codec.Encode value).AsObject()
            let own = (JsonNode.Parse(element.GetRawText()) |> nonNull).AsObject()
            own.Remove key |> ignore

            for absent in without do
                node.Remove absent |> ignore

            overlay node own
            JsonDocument.Parse(node.ToJsonString()).RootElement

        { codec with
            Decode =
                fun path element ->
                    match element.ValueKind, lazy (element.TryGetProperty key) with
                    | JsonValueKind.Object, Lazy(true, name) when name.ValueKind <> JsonValueKind.Null ->
                        names.Decode $"{path}.{key}" name
                        |> Result.bind (fun name -> codec.Decode path (whole name element))
                    | _ -> codec.Decode path element
        }

    /// Any JSON, as it is.
    let any: Codec<JsonElement> =
        {
            Form = plain "anything"
            Encode = fun element -> JsonNode.Parse(element.GetRawText()) |> nonNull
            Decode = fun _ element -> Ok element
        }

    let private layout =
        JsonSerializerOptions(
            WriteIndented = true,
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping
        )

    let private compact =
        JsonSerializerOptions(Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping)

    /// JSON for people, indented.
    let toText (codec: Codec<'a>) (value: 'a) =
        (codec.Encode value).ToJsonString layout

    /// JSON on one line.
    let toLine (codec: Codec<'a>) (value: 'a) =
        (codec.Encode value).ToJsonString compact

    /// A value from an element, with every problem at once.
    let decode (file: string) (codec: Codec<'a>) (element: JsonElement) : Result<'a, Error> =
        codec.Decode "$" element
        |> Result.mapError (fun problems -> BadJson(file, problems))

    /// A value from a text.
    let ofText (file: string) (codec: Codec<'a>) (text: string) : Result<'a, Error> =
        JsonText.parse file text |> Result.bind (decode file codec)

    /// A value from a file.
    let ofFile (file: string) (codec: Codec<'a>) : Result<'a, Error> =
        Error.guard (fun () -> TextFile.read file) |> Result.bind (ofText file codec)
