module Ldr.Core.Tests.CodecTests

open Expecto
open Ldr

type private Inner = { Size: int; Words: string list }

type private Outer =
    {
        Name: string
        Rate: float
        Inner: Inner
        Note: string option
    }

let private inner =
    codec {
        let! size = required "size" Codec.positiveInt _.Size
        and! words = optional "words" (Codec.list Codec.string) [] _.Words

        return { Size = size; Words = words }
    }

let private outer =
    codec {
        let! name = required "name" Codec.string _.Name
        and! rate = optional "rate" Codec.positive 0.5 _.Rate
        and! inner = required "inner" inner _.Inner
        and! note = maybe "note" Codec.string _.Note

        return
            {
                Name = name
                Rate = rate
                Inner = inner
                Note = note
            }
    }

let private problems text =
    match Codec.ofText "file.json" outer text with
    | Ok value -> failtestf "accepted as %A" value
    | Error error -> Error.lines error

let tests =
    testList
        "codec"
        [
            testProperty "what is written is read back"
            <| fun
                   (size: FsCheck.PositiveInt)
                   (words: FsCheck.NonNull<string> list)
                   (note: FsCheck.NonNull<string> option) ->
                let value =
                    {
                        Name = "a \"name\" with µ"
                        Rate = 0.1
                        Inner =
                            {
                                Size = size.Get
                                Words = words |> List.map _.Get
                            }
                        Note = note |> Option.map _.Get
                    }

                // Lone surrogates are no text: JSON cannot hold them.
                let whole (s: string) =
                    s |> Seq.forall (System.Char.IsSurrogate >> not)

                if Seq.forall whole (value.Inner.Words @ Option.toList value.Note) then
                    Expect.equal (Codec.ofText "" outer (Codec.toText outer value)) (Ok value) "round trip"
            test "every problem is reported at once, with its path" {
                let lines =
                    problems """{"name": 3, "rate": -1, "inner": {"size": 0, "words": ["a", 2]}, "nme": 1}"""

                Expect.equal
                    lines
                    [
                        "file.json: $.nme: is not a known key; did you mean \"name\"?"
                        "file.json: $.name: expected a text, found 3"
                        "file.json: $.rate: expected a number above 0, found -1"
                        "file.json: $.inner.size: expected a whole number above 0, found 0"
                        "file.json: $.inner.words[1]: expected a text, found 2"
                    ]
                    "lines"
            }
            test "keys are written in the order of their bindings" {
                let value =
                    {
                        Name = "x"
                        Rate = 1.0
                        Inner = { Size = 2; Words = [] }
                        Note = None
                    }

                Expect.equal
                    (Codec.toLine outer value)
                    """{"name":"x","rate":1,"inner":{"size":2,"words":[]}}"""
                    "absent notes are left out"
            }
            test "two keys of one type cannot swap" {
                let pair: Codec<int * int> =
                    codec {
                        let! second = required "second" Codec.int snd
                        and! first = required "first" Codec.int fst
                        return first, second
                    }

                Expect.equal (Codec.toLine pair (1, 2)) """{"second":2,"first":1}""" "written"
                Expect.equal (Codec.ofText "" pair """{"first": 1, "second": 2}""") (Ok(1, 2)) "read"
            }
            test "a lenient object may have more keys, a sealed one may not" {
                let name = required "name" Codec.string id
                let text = """{"name": "x", "colour": 1}"""
                Expect.equal (Codec.ofText "" (Fields.lenient name) text) (Ok "x") "lenient"
                Expect.isError (Codec.ofText "" (Fields.seal name) text) "sealed"
            }
            test "a missing key is named" {
                Expect.equal
                    (problems """{"name": "x", "inner": {}}""")
                    [ "file.json: $.inner.size: is missing" ]
                    "lines"
            }
            test "broken JSON names its line" {
                match problems "{\n  \"name\": \"x\",,\n}" with
                | [ line ] -> Expect.stringStarts line "file.json: line 2 is not valid JSON" "line"
                | lines -> failtestf "%A" lines
            }
            test "far-off words get the list, near ones a suggestion" {
                Expect.equal
                    (Suggestion.among [ "--model"; "--output-prefix" ] "--output")
                    "did you mean \"--output-prefix\"?"
                    "begun"

                Expect.equal (Suggestion.among [ "steps"; "batch" ] "stesp") "did you mean \"steps\"?" "near"

                Expect.equal
                    (Suggestion.among [ "steps"; "batch" ] "zebra-crossing")
                    "known: \"steps\", \"batch\""
                    "far"
            }
        ]
