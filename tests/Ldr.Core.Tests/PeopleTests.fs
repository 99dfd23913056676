/// Who is behind the scans, and that a split keeps people whole.
module Ldr.Core.Tests.PeopleTests

open System.IO
open Expecto
open Ldr
open Ldr.TestKit.Helpers

let private dataset names : Dataset =
    {
        Name = "set"
        Licence = ""
        Parts = []
        LabelNames = Map.empty
        Subjects =
            [
                for name in names -> Subject.ofImage name (Stored.made (fun () -> invalidOp "reads no scan"))
            ]
    }

let private noTable (_: string) : Result<Map<string, string>, Error> = failtest "reads no table"

let private told people names =
    People.apply noTable (Some people) (dataset names)
    |> Result.map (fun told -> told.Subjects |> List.map (fun s -> s.Name, s.Person))

let private message result =
    match result with
    | Ok _ -> failtest "accepted"
    | Error e ->
        match Error.lines e with
        | [ line ] -> line
        | lines -> failtestf "one line expected: %A" lines

let private split cut dataset = Dataset.split (Cut cut) dataset

let private parts (groups: SplitSubjects) =
    groups.TrainGroup :: groups.ValidationGroup :: groups.TestGroups
    |> List.map _.Members

let private names (groups: SplitSubjects) =
    parts groups |> List.map (List.map _.Name)

let private codecOf text =
    Codec.ofText
        "x.json"
        DataOptions.codec
        $$"""{"source": {"kind": "csv", "file": "x"}, "root": "/", "people": {{text}},
              "split": {"train": 2, "validation": 2, "test": 2}, "size": [16, 16, 16]}"""

let tests =
    testList
        "people"
        [
            test "so many scans in a row are one person's, by the last number of their names" {
                Expect.equal
                    (told (People.Consecutive 2) [ "h_001"; "h_002"; "h_003"; "h_004"; "h_010"; "g_001" ])
                    (Ok
                        [
                            "h_001", "h_1"
                            "h_002", "h_1"
                            "h_003", "h_3"
                            "h_004", "h_3"
                            "h_010", "h_9"
                            "g_001", "g_1"
                        ])
                    "pairs from 1 on"

                let three =
                    told (People.Consecutive 3) [ "s1t3"; "s1t4"; "s1t6"; "12"; "13" ]
                    |> Error.orRaise

                Expect.equal
                    (three |> List.map snd)
                    [ "s1t1"; "s1t4"; "s1t4"; "10"; "13" ]
                    "threes; of a name of several numbers the last counts"

                Expect.isOk (told (People.Consecutive 2) [ "a99999999999999999999999999" ]) "a long number"

                let none = told (People.Consecutive 2) [ "h_001"; "nobody" ] |> message
                Expect.stringContains none "$.data.people" "the key"
                Expect.stringContains none "nobody" "the scan"
                Expect.stringContains none "no number" "what is wrong"
                Expect.stringContains none "\"pattern\"" "what would be right"

                let same =
                    told (People.Consecutive 2) [ "patient001_T1"; "patient002_T1" ] |> message

                Expect.stringContains same "$.data.people" "the key"
                Expect.stringContains same "every scan's name is 1, as of patient001_T1" "what is wrong"
                Expect.stringContains same "\"pattern\"" "what would be right"
            }

            test "a pattern finds who a scan is of" {
                Expect.equal
                    (told (People.Pattern "^sub-([^_]+)") [ "sub-a_ses-1"; "sub-a_ses-2"; "sub-b_ses-1" ])
                    (Ok [ "sub-a_ses-1", "a"; "sub-a_ses-2", "a"; "sub-b_ses-1", "b" ])
                    "the first group"

                let none = told (People.Pattern "^sub-([^_]+)") [ "sub-a"; "other" ] |> message
                Expect.stringContains none "$.data.people" "the key"
                Expect.stringContains none "other" "the scan"
                Expect.stringContains none "finds nobody" "what is wrong"
            }

            testInFolder "a table says who a scan is of; every scan once" (fun folder ->
                let file = folder </> "people.csv"

                let missing = CsvForm.people (folder </> "nobody.csv") |> message
                Expect.stringContains missing "nobody.csv" "the file that is not there"
                Expect.stringContains missing "$.data.people.file" "its key"

                let read (text: string) =
                    File.WriteAllText(file, text)

                    People.apply
                        (fun name -> CsvForm.people (folder </> name))
                        (Some(People.Listed "people.csv"))
                        (dataset [ "a"; "b"; "c" ])
                    |> Result.map (fun told -> told.Subjects |> List.map _.Person)

                Expect.equal
                    (read "scan,person\na,x\n# a word\nb,\"y, z\"\nc,x\n\nd,q\n")
                    (Ok [ "x"; "y, z"; "x" ])
                    "by name; more lines than scans do no harm"

                for text, words in
                    [
                        "scan,person\na,x\nb,y\n", [ "people.csv"; "no line for the scan c" ]
                        "name,person\na,x\n", [ file; "columns scan,person" ]
                        "", [ file; "columns scan,person" ]
                        "scan,person\na,x\na,y\n", [ file; "line 3" ]
                        "scan,person\na,\n", [ file; "line 2" ]
                        "scan,person\na,x,more\n", [ file; "line 2" ]
                    ] do
                    let said = read text |> message

                    for word in words do
                        Expect.stringContains said word text)

            test "people as JSON and back; what is neither or several is refused" {
                for text, expected in
                    [
                        """{"consecutive":2}""", People.Consecutive 2
                        """{"pattern":"^sub-([^_]+)"}""", People.Pattern "^sub-([^_]+)"
                        """{"file":"people.csv"}""", People.Listed "people.csv"
                    ] do
                    match codecOf text with
                    | Error e -> failtestf "%A" (Error.lines e)
                    | Ok options ->
                        Expect.equal options.People (Some expected) text

                        Expect.stringContains
                            (Codec.toLine DataOptions.codec options)
                            $"\"people\":{text}"
                            "written as it was read"

                for text, words in
                    [
                        "{}", [ "$.people"; "\"consecutive\", \"pattern\" and \"file\"" ]
                        """{"consecutive": 2, "pattern": "(a)"}""", [ "$.people"; "one of" ]
                        """{"consecutive": 1}""", [ "$.people.consecutive"; "found 1" ]
                        """{"pattern": "sub"}""", [ "$.people.pattern"; "one group" ]
                        """{"pattern": "(a)(b)"}""", [ "$.people.pattern"; "one group" ]
                        """{"pattern": "(a"}""", [ "$.people.pattern"; "one group" ]
                        """{"persons": "a"}""", [ "$.people.persons"; "not a known key" ]
                    ] do
                    match codecOf text with
                    | Ok _ -> failtestf "accepted: %s" text
                    | Error e ->
                        for word in words do
                            Expect.stringContains (String.concat "\n" (Error.lines e)) word text
            }

            testInFolder "a data set is loaded with its people" (fun folder ->
                Directory.CreateDirectory(folder </> "set") |> ignore

                let entries =
                    [
                        for i in 1..4 -> $$"""{"image": "img_{{i}}.nii", "label": "lab_{{i}}.nii"}"""
                    ]
                    |> String.concat ", "

                File.WriteAllText(
                    folder </> "set" </> "dataset.json",
                    $$"""{"name": "x", "training": [{{entries}}]}"""
                )

                let load people =
                    Codec.ofText
                        "x.json"
                        DataOptions.codec
                        $$"""{"source": {"kind": "msd", "folder": "set"}, "root": "{{folder}}",{{people}}
                              "split": {"train": 2, "validation": 2, "test": 2}, "size": [16, 16, 16]}"""
                    |> Result.bind Dataset.load

                let people (dataset: Result<Dataset, Error>) =
                    (dataset |> Error.orRaise).Subjects |> List.map _.Person

                Expect.equal (people (load "")) [ "img_1"; "img_2"; "img_3"; "img_4" ] "each is a person"
                let pairs = people (load """ "people": {"consecutive": 2},""")
                Expect.equal (List.distinct pairs).Length 2 "two people"
                Expect.equal (pairs[0], pairs[2]) (pairs[1], pairs[3]) "two scans each"
                File.WriteAllText(folder </> "who.csv", "scan,person\nimg_1,a\nimg_2,b\nimg_3,b\nimg_4,a\n")

                Expect.equal
                    (people (load """ "people": {"file": "who.csv"},"""))
                    [ "a"; "b"; "b"; "a" ]
                    "below the data root"

                match load """ "people": {"pattern": "^sub-(.)"},""" with
                | Ok _ -> failtest "accepted"
                | Error e -> Expect.stringContains (String.concat "" (Error.lines e)) "img_1" "refused")

            testProperty "a split never puts one person into two parts, and no scan twice"
            <| fun (seed: int) (sizes: FsCheck.NonEmptyArray<FsCheck.PositiveInt>) ->
                let subjects =
                    [
                        for person, size in Seq.indexed (Seq.truncate 12 sizes.Get) do
                            for scan in 0 .. size.Get % 4 ->
                                { Subject.ofImage
                                      $"p{person}s{scan}"
                                      (Stored.made (fun () -> invalidOp "reads no scan")) with
                                    Person = $"person {person}"
                                }
                    ]

                let third = subjects.Length / 3

                let cut =
                    {
                        Train = subjects.Length - 2 * third
                        Validation = third
                        Test = third
                        Seed = seed
                    }

                match split cut ({ dataset [] with Subjects = subjects }: Dataset) with
                | Error e ->
                    // Refused where a part would have less than two scans, and never for another reason.
                    Expect.stringContains (String.concat "" (Error.lines e)) "no room for" "why"
                | Ok groups ->
                    let members = parts groups
                    let all = List.concat members
                    Expect.equal (all |> List.distinctBy _.Name |> List.length) all.Length "no scan twice"

                    Expect.equal
                        (members |> List.collect (List.map _.Person >> List.distinct) |> List.length)
                        (all |> List.map _.Person |> List.distinct |> List.length)
                        "nobody in two parts"

                    // A person comes with all of his or her scans.
                    for person, own in all |> List.groupBy _.Person do
                        Expect.equal
                            own.Length
                            (subjects |> List.filter (fun s -> s.Person = person) |> List.length)
                            "whole"

                    for part, size in List.zip members [ cut.Train; cut.Validation; cut.Test ] do
                        Expect.isLessThanOrEqual part.Length size "no more than asked for"
                        Expect.isGreaterThanOrEqual part.Length (min 2 size) "and two at least"

            test "people fill the parts that they fit into; a part without room is named" {
                let paired count =
                    (People.apply
                        noTable
                        (Some(People.Consecutive 2))
                        (dataset [ for i in 1..count -> $"h_%03d{i}" ])
                     |> Error.orRaise)

                let cut train validation test =
                    {
                        Train = train
                        Validation = validation
                        Test = test
                        Seed = 1
                    }

                match split (cut 8 4 4) (paired 16) with
                | Error e -> failtestf "%A" (Error.lines e)
                | Ok groups -> Expect.equal (names groups |> List.map List.length) [ 8; 4; 4 ] "all of them"

                match split (cut 7 5 4) (paired 16) with
                | Error e -> failtestf "%A" (Error.lines e)
                | Ok groups ->
                    Expect.equal (names groups |> List.map List.length) [ 6; 4; 4 ] "whole people only"

                let refused = split (cut 8 4 1) (paired 16) |> message
                Expect.stringContains refused "$.data.split.test" "the part"
                Expect.stringContains refused "no room" "what is wrong"

                Expect.stringContains
                    (split (cut 8 4 6) (paired 16) |> message)
                    "asks for 18"
                    "more than there are"

                let same = split (cut 8 4 4) (paired 16) |> Error.orRaise |> names

                Expect.equal
                    (split (cut 8 4 4) (paired 16) |> Error.orRaise |> names)
                    same
                    "the same for one seed"

                Expect.notEqual
                    (split { cut 8 4 4 with Seed = 2 } (paired 16) |> Error.orRaise |> names)
                    same
                    "another for another"
            }

            test "without people a data set is split as ever: the random order, cut into three" {
                for count, train, validation, test in [ 200, 160, 20, 20; 9, 3, 2, 4; 12, 4, 3, 2 ] do
                    for seed in 1..5 do
                        let all = [| for i in 1..count -> $"s%03d{i}" |]

                        let order =
                            Seed.permutation count (Seed.ofInt seed |> Seed.split "split")
                            |> Array.map (fun i -> all[i])

                        let expected =
                            [
                                order[.. train - 1]
                                order[train .. train + validation - 1]
                                order[train + validation .. train + validation + test - 1]
                            ]
                            |> List.map (Array.sort >> List.ofArray)

                        let cut =
                            {
                                Train = train
                                Validation = validation
                                Test = test
                                Seed = seed
                            }

                        Expect.equal
                            (split cut (dataset all) |> Error.orRaise |> names)
                            expected
                            $"{count}, seed {seed}"

                // A known answer, so that no training's test scans become another's training scans.
                let eight =
                    split
                        {
                            Train = 4
                            Validation = 2
                            Test = 2
                            Seed = 1
                        }
                        (dataset [ for i in 1..8 -> $"h{i}" ])
                    |> Error.orRaise
                    |> names

                Expect.equal eight [ [ "h1"; "h5"; "h6"; "h8" ]; [ "h4"; "h7" ]; [ "h2"; "h3" ] ] "as before"
            }
        ]
