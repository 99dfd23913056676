/// What a training tells beside its metrics: where its time went, and event files for TensorBoard.
module Ldr.Cli.Tests.TrainingRecordTests

open System
open System.IO
open System.Text
open System.Text.Json.Nodes
open Expecto
open Ldr
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.Cli.Tests.CliTests

/// CRC-32C, bit by bit, and TensorFlow's mask over it.
let private maskedCrc (bytes: byte[]) : uint32 =
    let step (crc: uint32) (value: byte) =
        (crc ^^^ uint32 value, [ 1..8 ])
        ||> List.fold (fun c _ -> if c &&& 1u = 1u then (c >>> 1) ^^^ 0x82F63B78u else c >>> 1)

    let crc = ~~~(Array.fold step 0xFFFFFFFFu bytes)
    ((crc >>> 15) ||| (crc <<< 17)) + 0xA282EAD8u

/// The records of an event file: length, its check sum, the record, its check sum.
let private records (path: string) : byte[] list =
    let bytes = File.ReadAllBytes path

    let rec next place =
        if place = bytes.Length then
            []
        else
            let length = int (BitConverter.ToUInt64(bytes, place))

            let demand at (part: byte[]) =
                Expect.equal (BitConverter.ToUInt32(bytes, at)) (maskedCrc part) $"check sum at {at}"

            let record = bytes[place + 12 .. place + 11 + length]
            demand (place + 8) bytes[place .. place + 7]
            demand (place + 12 + length) record
            record :: next (place + 16 + length)

    next 0

/// The fields of a protobuf message: number, and the number or the bytes that it holds.
let private fields (message: byte[]) : (int * uint64 * byte[]) list =
    let rec varint place shift value =
        let value = value ||| (uint64 (message[place] &&& 127uy) <<< shift)

        if message[place] < 128uy then
            value, place + 1
        else
            varint (place + 1) (shift + 7) value

    let rec next place =
        if place = message.Length then
            []
        else
            let key, place = varint place 0 0UL
            let number = int (key >>> 3)

            match key &&& 7UL with
            | 0UL ->
                let value, place = varint place 0 0UL
                (number, value, [||]) :: next place
            | 1UL -> (number, BitConverter.ToUInt64(message, place), [||]) :: next (place + 8)
            | 5UL ->
                (number, uint64 (BitConverter.ToUInt32(message, place)), [||])
                :: next (place + 4)
            | 2UL ->
                let length, place = varint place 0 0UL
                let last = place + int length
                (number, 0UL, message[place .. last - 1]) :: next last
            | kind -> failtestf "wire type %d" kind

    next 0

/// The scalars of an event file: tag, step, value, seconds since 1970.
let private scalars (path: string) : (string * int64 * float32 * float) list =
    [
        for record in records path do
            let event = fields record

            let number field =
                event |> List.tryPick (fun (n, v, _) -> if n = field then Some v else None)

            let step = number 2 |> Option.defaultValue 0UL |> int64
            let time = number 1 |> Option.defaultValue 0UL |> BitConverter.UInt64BitsToDouble

            for n, _, summary in event do
                if n = 5 then
                    for _, _, value in fields summary do
                        let parts = fields value
                        let _, _, tag = parts |> List.find (fun (n, _, _) -> n = 1)

                        let scalar =
                            parts
                            |> List.tryPick (fun (n, v, _) -> if n = 2 then Some(uint32 v) else None)
                            |> Option.defaultValue 0u

                        Encoding.UTF8.GetString tag, step, BitConverter.UInt32BitsToSingle scalar, time
    ]

/// What the event files should hold: every number of `metrics.jsonl`.
let private expected (run: string) =
    [
        for line in File.ReadAllLines(run </> "metrics.jsonl") do
            let node = (nonNull (JsonNode.Parse line)).AsObject()

            for entry in node do
                if not (List.contains entry.Key [ "kind"; "training"; "step" ]) then
                    let kind = (nonNull node["kind"]).GetValue<string>()
                    let step = (nonNull node["step"]).GetValue<int64>()
                    $"{kind}/{entry.Key}", step, (nonNull entry.Value).GetValue<float32>()
    ]

let private only = [ "--only"; "teacher" ]

let tests =
    testList
        "training records"
        [
            testInFolder
                "the time of a training is told and kept, and no event file is made unasked"
                (fun folder ->
                    let run = folder </> "run"
                    let outcome = ldr (tiny run @ steps 4 @ only)
                    Expect.equal outcome.Code 0 outcome.Errors

                    let line =
                        outcome.Errors.Split '\n'
                        |> Array.filter _.StartsWith("teacher: 4 steps in ")
                        |> Array.exactlyOne

                    for part in [ "data "; "student "; "validation "; " MB" ] do
                        Expect.stringContains line part "the line"

                    let kept =
                        File.ReadAllLines(run </> "times.jsonl")
                        |> Array.exactlyOne
                        |> JsonNode.Parse
                        |> nonNull

                    let number (key: string) = (nonNull kept[key]).GetValue<float>()
                    Expect.equal (number "step") 4.0 "step"
                    Expect.equal (number "steps") 4.0 "steps"

                    Expect.floatClose
                        Accuracy.low
                        (List.sumBy
                            number
                            [
                                "data"
                                "student"
                                "teacher"
                                "discriminator"
                                "optimiser"
                                "validation"
                                "checkpoints"
                                "rest"
                            ])
                        1.0
                        "shares"

                    Expect.equal (number "teacher") 0.0 "it has no teacher"
                    Expect.isGreaterThan (number "peak_mb") 50.0 "memory"
                    Expect.isFalse (Directory.Exists(run </> "tensorboard")) "no event files")

            testInFolder
                "event files hold every metric once, after a training that was stopped and went on"
                (fun folder ->
                    let run = folder </> "run"
                    let command = tiny run @ steps 4000 @ only @ [ "--tensorboard"; "--resume" ]
                    let stopped = interrupt "TERM" command "validation:"
                    Expect.equal stopped.Code 130 stopped.Errors
                    Expect.stringContains stopped.Errors "--tensorboard" "the command that goes on"
                    let again = interrupt "TERM" command "validation:"
                    Expect.equal again.Code 130 again.Errors
                    Expect.stringContains again.Errors "from step" "it went on"

                    let file =
                        Directory.GetFiles(run </> "tensorboard" </> "teacher") |> Array.exactlyOne

                    let found = scalars file
                    Expect.isGreaterThan found.Length 3 "there are some"

                    Expect.equal
                        (found |> List.map (fun (tag, step, value, _) -> tag, step, value))
                        (expected run)
                        "as in metrics.jsonl"

                    let now = float (DateTimeOffset.UtcNow.ToUnixTimeSeconds())

                    for tag, _, _, time in found do
                        Expect.isLessThan (abs (time - now)) 600.0 $"seconds since 1970 of {tag}")

            testInFolder
                "--json has the steps that were made and their times, also when a training stops early"
                (fun folder ->
                    let outcome =
                        ldr (
                            tiny (folder </> "run")
                            @ steps 40
                            @ only
                            // A step that changes nothing: no validation is better than the first.
                            @ [ "--set"; "train.teacher.learning_rate={\"initial\": 1e-12}" ]
                            @ [ "--set"; "train.teacher.early_stopping=2"; "--json" ]
                        )

                    Expect.equal outcome.Code 0 outcome.Errors
                    let node = nonNull (JsonNode.Parse outcome.Output)
                    // Of the six that were made, those behind the best weights.
                    Expect.equal ((nonNull node["steps"]).GetValue<int>()) 2 "steps behind the weights"
                    let times = (nonNull node["times"]).AsArray() |> Seq.exactlyOne |> nonNull
                    let number (key: string) = (nonNull times[key]).GetValue<float>()
                    Expect.equal (number "steps") 6.0 "steps made"
                    Expect.isGreaterThan (number "seconds") 0.0 "seconds"
                    Expect.isGreaterThan (number "student") 0.0 "the student's share")

            testInFolder
                "a training that starts from a model that knows its test subjects is told so"
                (fun folder ->
                    let first = ldr (tiny (folder </> "first") @ steps 2 @ only)
                    Expect.equal first.Code 0 first.Errors

                    let second name more =
                        ldr (
                            tiny (folder </> name)
                            @ steps 2
                            @ only
                            @ [ "--set"; $"train.teacher.start={folder}/first/model.safetensors" ]
                            @ more
                        )

                    let same = second "same" []
                    Expect.equal same.Code 0 same.Errors
                    Expect.isFalse (same.Errors.Contains "has learnt from") "the same split: nothing to say"
                    let card = ldr [ "inspect"; folder </> "same" </> "model.safetensors" ]

                    Expect.stringContains
                        card.Output
                        "started from model.safetensors: 2 steps on"
                        "no folder of ours"

                    let other =
                        second
                            "other"
                            [
                                "--set"
                                """data.split={"train": 4, "validation": 2, "test": 3, "seed": 2}"""
                            ]

                    Expect.equal other.Code 0 other.Errors

                    Expect.stringContains
                        other.Errors
                        $"starts from {folder}/first/model.safetensors, which has learnt from"
                        "the line"

                    let student =
                        ldr (
                            tiny (folder </> "student")
                            @ steps 2
                            @ [
                                "--only"
                                "student-feature-gap"
                                "--set"
                                $"train.student-feature-gap.distillation.teacher={folder}/first/model.safetensors"
                                "--set"
                                """data.split={"train": 4, "validation": 2, "test": 3, "seed": 2}"""
                            ]
                        )

                    Expect.equal student.Code 0 student.Errors

                    Expect.stringContains
                        student.Errors
                        $"learns from {folder}/first/model.safetensors, which has learnt from"
                        "the same of a teacher")
        ]
