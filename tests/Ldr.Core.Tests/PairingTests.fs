/// Which pairs are made of a data set's parts.
module Ldr.Core.Tests.PairingTests

open Expecto
open Ldr

let private scan name =
    Subject.ofImage name (Stored.made (fun () -> invalidOp "reads no scan"))

let private share names fraction pairing =
    {
        Subjects = names
        Fraction = fraction
        Pairing = pairing
    }

let private group shares : SubjectGroup =
    {
        Part = "x"
        Members = [ "a"; "b"; "c"; "d"; "e" ] |> List.map scan
        Shares = shares
    }

let private all shares =
    Pairs.evaluation (Seed.ofInt 3) 1000 (group shares) |> List.sort

let private dataset: Dataset =
    {
        Name = "set"
        Licence = ""
        Subjects = [ "a"; "b"; "c"; "d"; "e" ] |> List.map scan
        Parts =
            [
                {
                    Name = "one"
                    Problem = None
                    Shares = [ share [ "a"; "b"; "c" ] 1.0 AllOrdered ]
                }
                {
                    Name = "two"
                    Problem = None
                    Shares = [ share [ "c"; "d" ] 1.0 (Listed [ "d", "c" ]) ]
                }
                {
                    Name = "away"
                    Problem = Some(BadFile("x.h5", "is missing", "get it"))
                    Shares = [ share [ "d"; "e" ] 1.0 AllOrdered ]
                }
            ]
        LabelNames = Map.empty
    }

/// The split of an experiment, as written.
let private splitOf (text: string) =
    Codec.ofText
        "x"
        DataOptions.codec
        $$"""{"source": {"kind": "csv", "file": "x"}, "root": "/", "split": {{text}}, "size": [16, 16, 16]}"""
    |> Result.map _.Split

let tests =
    testList
        "pairings"
        [
            test "each pairing makes its pairs" {
                let names = [ "a"; "b"; "d" ]

                Expect.equal
                    (all [ share names 1.0 AllOrdered ])
                    [ 0, 1; 0, 3; 1, 0; 1, 3; 3, 0; 3, 1 ]
                    "all ordered"

                Expect.equal
                    (all [ share [ "a"; "b"; "d"; "e"; "c" ] 1.0 Consecutive ])
                    [ 0, 1; 1, 0; 3, 4; 4, 3 ]
                    "consecutive; one that is left over has no pair"

                Expect.equal (all [ share names 1.0 (Atlas "b") ]) [ 1, 0; 1, 3 ] "the atlas is fixed"
                Expect.equal (all [ share names 1.0 (Listed [ "d", "a" ]) ]) [ 3, 0 ] "listed"
                let random = all [ share names 1.0 (RandomPerSubject 1) ]
                Expect.equal (random |> List.map fst) [ 0; 1; 3 ] "every subject once, fixed"
                Expect.isTrue (random |> List.forall (fun (f, m) -> f <> m)) "with another one"

                Expect.equal
                    (all
                        [
                            share [ "a"; "b" ] 1.0 Consecutive
                            share [ "a"; "c" ] 1.0 (Listed [ "c", "a" ])
                        ])
                    [ 0, 1; 1, 0; 2, 0 ]
                    "several shares"
            }

            test "training pairs come from the shares by their fractions" {
                let drawn =
                    group [ share [ "a"; "b" ] 0.25 AllOrdered; share [ "c"; "d"; "e" ] 0.75 (Atlas "c") ]
                    |> Pairs.draw (Seed.ofInt 7)

                let pairs = List.init 4000 drawn
                let first, second = pairs |> List.partition (fun (f, _) -> f < 2)
                Expect.equal (List.distinct first |> List.sort) [ 0, 1; 1, 0 ] "first share"
                Expect.equal (List.distinct second |> List.sort) [ 2, 3; 2, 4 ] "second share"
                // Five deviations of a binomial count.
                Expect.isLessThan (abs (first.Length - 1000)) 137 "a quarter"
                Expect.equal (List.init 4000 drawn) pairs "the same for one seed"

                let several =
                    group [ share [ "a"; "b" ] 1.0 Consecutive ] |> Pairs.several (Seed.ofInt 1) 10

                Expect.equal (List.sort several) [ 0, 1; 1, 0 ] "all there are, once"
            }

            test "a split by parts takes the data set's shares, or another pairing" {
                let split =
                    splitOf
                        """{"train": "one", "validation": "two", "test": [{"part": "one", "pairing": "consecutive"}, "two"]}"""

                match split |> Result.bind (fun split -> Dataset.split split dataset) with
                | Error e -> failtestf "%A" (Error.lines e)
                | Ok groups ->
                    Expect.equal (groups.TrainGroup.Members |> List.map _.Name) [ "a"; "b"; "c" ] "training"
                    Expect.equal (groups.TestGroups |> List.map _.Part) [ "one"; "two" ] "test parts"

                    Expect.equal
                        groups.TestGroups.Head.Shares.Head.Pairing
                        Consecutive
                        "the experiment's pairing"

                    Expect.equal (Pairs.evaluation (Seed.ofInt 1) 9 groups.ValidationGroup) [ 0, 1 ] "listed"
            }

            test "a part is cut by shares of its scans, in its order, with the pairs that are left" {
                let names (group: SubjectGroup) = group.Members |> List.map _.Name

                let groups text =
                    splitOf text
                    |> Result.bind (fun split -> Dataset.split split dataset)
                    |> Error.orRaise

                let cut =
                    groups
                        """{"train": {"part": "one", "scans": [0, 0.7]}, "validation": "two", "test": [{"part": "one", "scans": [0.3, 1]}]}"""

                Expect.equal (names cut.TrainGroup) [ "a"; "b" ] "the first two of three"
                Expect.equal (names cut.TestGroups.Head) [ "a"; "b"; "c" ] "0.3 of three is before the first"

                Expect.equal
                    (Pairs.evaluation (Seed.ofInt 1) 9 cut.TrainGroup |> List.sort)
                    [ 0, 1; 1, 0 ]
                    "their pairs"

                let atlas =
                    groups
                        """{"train": {"part": "one", "pairing": {"atlas": "a"}, "scans": [0.34, 1]}, "validation": "two", "test": [{"part": "two", "scans": [0, 1]}]}"""

                Expect.equal (names atlas.TrainGroup) [ "a"; "b"; "c" ] "the atlas, and the last two"
                Expect.equal (Pairs.evaluation (Seed.ofInt 1) 9 atlas.TestGroups.Head) [ 0, 1 ] "listed"

                for text in
                    [
                        // One of the two scans of a listed pair is left: no pair.
                        """{"train": {"part": "two", "scans": [0, 0.5]}, "validation": "two", "test": ["one"]}"""
                        """{"train": {"part": "one", "scans": [0.9, 1]}, "validation": "two", "test": ["one"]}"""
                    ] do
                    match splitOf text |> Result.bind (fun split -> Dataset.split split dataset) with
                    | Ok _ -> failtestf "accepted: %s" text
                    | Error e ->
                        Expect.stringContains (String.concat "" (Error.lines e)) "fewer than two scans" text
            }

            test "a split is written as it was read" {
                for text in
                    [
                        """{"train":"one","validation":"two","test":["one",{"part":"two","pairing":"all"}]}"""
                        """{"train":{"part":"one","pairing":{"atlas":"b"}},"validation":{"part":"two","scans":[0,0.5]},"test":[{"part":"two","pairing":{"random":3}}]}"""
                        """{"train":3,"validation":2,"test":4,"seed":5}"""
                    ] do
                    match
                        Codec.ofText
                            "x"
                            DataOptions.codec
                            $$"""{"source": {"kind": "csv", "file": "x"}, "split": {{text}}, "size": [16, 16, 16]}"""
                    with
                    | Error e -> failtestf "%A" (Error.lines e)
                    | Ok options ->
                        Expect.stringContains (Codec.toLine DataOptions.codec options) text "the same text"
            }

            test "bad splits are named by their place" {
                for text, words in
                    [
                        """{"train": "ona", "validation": "two", "test": ["one"]}""",
                        [ "$.data.split.train"; "no part \"ona\""; "did you mean \"one\"?" ]
                        """{"train": "one", "validation": "two", "test": ["two", "away"]}""",
                        [ "x.h5"; "is missing"; "get it" ]
                        """{"train": {"part": "one", "pairing": {"atlas": "z"}}, "validation": "two", "test": ["two"]}""",
                        [ "$.data.split.train"; "no scan \"z\"" ]
                        """{"train": "one", "validation": "two", "test": []}""",
                        [ "$.split.test"; "one or more" ]
                        """{"train": "one", "validation": "two", "test": [{"part": "one", "pairing": "al"}]}""",
                        [ "$.split.test[0].pairing"; "\"al\" is not known" ]
                        """{"train": "one", "validation": "two", "test": [{"part": "one", "pairing": {}}]}""",
                        [ "$.split.test[0].pairing"; "\"atlas\"" ]
                        """{"train": 2, "validation": 2, "test": 2}""",
                        [
                            "$.data.split"
                            "lists the pairs of its part \"two\""
                            "\"one\", \"two\", \"away\""
                        ]
                    ] do
                    match splitOf text |> Result.bind (fun split -> Dataset.split split dataset) with
                    | Ok _ -> failtestf "accepted: %s" text
                    | Error e ->
                        let message = String.concat "\n" (Error.lines e)

                        for word in words do
                            Expect.stringContains message word text
            }
        ]
