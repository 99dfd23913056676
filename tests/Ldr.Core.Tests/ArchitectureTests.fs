module Ldr.Core.Tests.ArchitectureTests

open Expecto
open Ldr

let private stages =
    [
        Stage.Ldr StudentWidths.slim
        Stage.Ldr StudentWidths.published
        Stage.Ldr
            {
                Encoder = [ 4; 6; 8; 10 ]
                Decoder = [ 9; 7; 5 ]
            }
        Stage.LdrHalf StudentWidths.slim
        Stage.LdrHalf
            {
                Encoder = [ 8; 16; 32; 64 ]
                Decoder = [ 32; 16; 8 ]
            }
        Stage.LdrVelocity StudentWidths.slim
        Stage.LdrReference
        Stage.Vtn VtnScale.standard
        Stage.Vtn { Levels = 4; Channels = 8 }
        Stage.VoxelMorph
    ]

let private all =
    [
        for stage in stages do
            Architecture.Single stage

            for affine in
                [
                    None
                    Some(Affine 16)
                    Some(Affine 4)
                    Some(AffineLight 16)
                    Some(AffineLight 8)
                ] do
                for count in 0..3 do
                    if affine.IsSome || count > 0 then
                        Architecture.Cascade
                            {
                                Affine = affine
                                Stages = count
                                Stage = stage
                            }
    ]

let private read text =
    Codec.ofText "test.json" Architecture.codec text

let private problems text =
    match read text with
    | Ok value -> failtest $"accepted as {Architecture.describe value}"
    | Error error -> Error.lines error |> String.concat "\n"

let private refuses text (parts: string list) =
    testCase $"refuses {text}" (fun () ->
        let message = problems text

        for part in parts do
            Expect.stringContains message part "the message")

let tests =
    testList
        "architecture"
        [
            testCase "JSON and back"
            <| fun () ->
                for architecture in all do
                    let text = Codec.toLine Architecture.codec architecture
                    Expect.equal (read text) (Ok architecture) text

            testCase "in a model's file an ldr without widths is the narrow one that it was"
            <| fun () ->
                let old = Codec.ofText "model" Architecture.ofModelFile
                let slim = Stage.Ldr StudentWidths.slim

                for text, expected in
                    [
                        "{\"kind\": \"ldr\"}", Architecture.Single slim
                        "{\"kind\": \"ldr-slim\"}", Architecture.Single slim
                        "{\"kind\": \"ldr\", \"decoder\": [128, 64, 32]}",
                        Architecture.Single(Stage.Ldr StudentWidths.published)
                        "{\"kind\": \"cascade\", \"stages\": 2}",
                        Architecture.Cascade
                            {
                                Affine = None
                                Stages = 2
                                Stage = slim
                            }
                    ] do
                    Expect.equal (old text) (Ok expected) text

                for architecture in all do
                    let text = Codec.toLine Architecture.codec architecture
                    Expect.equal (old text) (Ok architecture) "what is written says its widths"

            testCase "a bare word is the published network"
            <| fun () ->
                let single text stage =
                    Expect.equal (read text) (Ok(Architecture.Single stage)) text

                single "\"ldr\"" (Stage.Ldr StudentWidths.published)
                single "\"ldr-slim\"" (Stage.Ldr StudentWidths.slim)
                single "\"ldr-half\"" (Stage.LdrHalf StudentWidths.slim)
                single "{\"kind\": \"vtn\"}" (Stage.Vtn { Levels = 6; Channels = 16 })
                single "\"ldr-reference\"" Stage.LdrReference
                single "\"voxelmorph\"" Stage.VoxelMorph

                let system affine count stage =
                    Ok(
                        Architecture.Cascade
                            {
                                Affine = affine
                                Stages = count
                                Stage = stage
                            }
                    )

                Expect.equal
                    (read
                        """{"kind": "cascade", "affine": "affine-light", "stages": 2, "stage": "ldr-reference"}""")
                    (system (Some(AffineLight 16)) 2 Stage.LdrReference)
                    "words inside a cascade"

                Expect.equal
                    (read
                        """{"kind": "cascade", "affine": null, "stages": 3, "stage": {"kind": "vtn", "levels": 5}}""")
                    (system None 3 (Stage.Vtn { Levels = 5; Channels = 16 }))
                    "no affine stage"

            testCase "different architectures have different descriptions, of one line"
            <| fun () ->
                // Without deformable stages, it does not matter which ones there are not.
                let distinct =
                    all
                    |> List.filter (function
                        | Architecture.Cascade { Stages = 0 } -> false
                        | _ -> true)

                let lines = distinct |> List.map Architecture.describe
                Expect.equal (List.distinct lines).Length lines.Length "all of them"
                Expect.all lines (fun line -> not (line.Contains '\n')) "one line each"

                Expect.equal
                    (Architecture.describe (
                        Architecture.Cascade
                            {
                                Affine = Some(AffineLight 16)
                                Stages = 2
                                Stage = stages.Head
                            }
                    ))
                    "affine-light (16 channels) + 2 × ldr (16-32-64-128, then 64-32-16)"
                    "an example"

            testCase "multiples"
            <| fun () ->
                let multiple stage =
                    Architecture.multiple (Architecture.Single stage)

                Expect.equal (multiple (Stage.Ldr StudentWidths.published)) 16 "ldr"
                Expect.equal (multiple (Stage.Vtn VtnScale.standard)) 64 "vtn"
                Expect.equal (multiple (Stage.Vtn { Levels = 4; Channels = 16 })) 16 "vtn of 4 levels"

                let system affine count stage =
                    Architecture.multiple (
                        Architecture.Cascade
                            {
                                Affine = affine
                                Stages = count
                                Stage = stage
                            }
                    )

                Expect.equal (system (Some(Affine 16)) 0 Stage.VoxelMorph) 1 "affine only: any size as it is"
                Expect.equal (system (Some(Affine 16)) 2 Stage.VoxelMorph) 16 "voxelmorph cascade"

            refuses "\"vtm\"" [ "test.json"; "did you mean \"vtn\"?" ]
            refuses "{\"kind\": \"voxel-morph\"}" [ "$.kind"; "did you mean \"voxelmorph\"?" ]
            refuses "{\"decoder\": [1, 2, 3]}" [ "$.kind"; "is missing" ]
            refuses
                "{\"kind\": \"ldr\", \"decodr\": [64, 32, 16]}"
                [ "$.decodr"; "did you mean \"decoder\"?" ]
            refuses "{\"kind\": \"ldr\", \"decoder\": [64, 32]}" [ "$.decoder"; "a list of 3 widths" ]
            refuses "{\"kind\": \"ldr\", \"encoder\": [16, 32, 0, 128]}" [ "$.encoder[2]"; "from 1 to 1024" ]
            refuses "{\"kind\": \"vtn\", \"levels\": 12}" [ "$.levels"; "from 2 to 7" ]
            refuses "{\"kind\": \"cascade\", \"stages\": 0}" [ "with at least one stage" ]
            refuses
                """{"kind": "cascade", "stages": 2, "stage": {"kind": "cascade", "stages": 2}}"""
                [ "$.stage.kind"; "\"cascade\" is not known" ]
            refuses
                """{"kind": "cascade", "stages": 2, "affine": "afine"}"""
                [ "$.affine"; "did you mean \"affine\"?" ]
        ]
