namespace Ldr

open System
open System.IO
open Ldr.Runtime.Formats

/// A table of pairs: columns `fixed` and `moving`, and optionally `fixed_labels`, `moving_labels`, `fixed_points`,
/// `moving_points`, `fixed_mask`, `moving_mask` and `part`. Paths are relative to the table.
module CsvForm =
    let private extras = [ "labels"; "points"; "mask" ]

    let private columns =
        [ "fixed"; "moving"; "part" ]
        @ List.collect (fun extra -> [ $"fixed_{extra}"; $"moving_{extra}" ]) extras

    /// The fields of a line; quotes as in RFC 4180, no line breaks inside them.
    let private fields file (number: int) (line: string) : string list =
        let result = ResizeArray<string>()
        let field = Text.StringBuilder()
        let mutable quoted = false
        let mutable i = 0

        while i < line.Length do
            let c = line[i]

            if quoted && c = '"' && i + 1 < line.Length && line[i + 1] = '"' then
                field.Append '"' |> ignore
                i <- i + 1
            elif c = '"' then
                quoted <- not quoted
            elif c = ',' && not quoted then
                result.Add(field.ToString())
                field.Clear() |> ignore
            else
                field.Append c |> ignore

            i <- i + 1

        if quoted then
            DataFiles.bad file $"line {number} has a quote that does not end" "end it on that line"

        result.Add(field.ToString())
        result |> Seq.map _.Trim() |> List.ofSeq

    /// One end of a pair: the files of a scan.
    type private End =
        {
            Image: string
            Extras: (string * string) list
        }

    /// The lines of a table that say something, with their numbers.
    let private linesOf (file: string) : (int * string) list =
        Error.guard (fun () -> File.ReadAllLines file)
        |> Error.orRaise
        |> Array.indexed
        |> Array.map (fun (i, line) -> i + 1, line.TrimStart '\uFEFF')
        |> Array.filter (fun (_, line) -> line.Trim() <> "" && not (line.StartsWith '#'))
        |> List.ofArray

    /// Reads a table with the columns `scan` and `person`: whose scan each is. Bad input is raised.
    let people (file: string) : Map<string, string> =
        let head, rows =
            match linesOf file with
            | (number, head) :: rows when fields file number head = [ "scan"; "person" ] -> number, rows
            | _ ->
                DataFiles.bad
                    file
                    "does not begin with the columns scan,person"
                    "give it that first line and a line for each scan"

        (Map.empty, rows)
        ||> List.fold (fun known (number, line) ->
            match fields file number line with
            | [ scan; person ] when scan <> "" && person <> "" && not (known.ContainsKey scan) ->
                known.Add(scan, person)
            | _ ->
                DataFiles.bad
                    file
                    $"line {number} is not a scan that line {head} to {number - 1} lack and its person"
                    "give every scan one line: its name, a comma, its person")

    /// Reads a table. Bad input is raised.
    let read (file: string) : Dataset =
        match linesOf file with
        | []
        | [ _ ] ->
            DataFiles.bad
                file
                "holds no pair"
                "give it a first line such as fixed,moving and a line for each pair"
        | (headNumber, head) :: rows ->
            let names = fields file headNumber head |> List.map _.ToLowerInvariant()

            for name in names do
                if not (List.contains name columns) then
                    DataFiles.bad
                        file
                        $"line {headNumber}: \"{name}\" is not a known column"
                        (Suggestion.among columns name)

            for needed in [ "fixed"; "moving" ] do
                if not (List.contains needed names) then
                    DataFiles.bad file $"line {headNumber}: has no column \"{needed}\"" "add it"

            let read (number: int, line: string) =
                let values = fields file number line

                if values.Length <> names.Length then
                    DataFiles.bad
                        file
                        $"line {number} has {values.Length} fields, its first line names {names.Length}"
                        "give every line as many"

                let cells =
                    List.zip names values |> List.filter (fun (_, v) -> v <> "") |> Map.ofList

                let path column =
                    cells.TryFind column
                    |> Option.map (fun value ->
                        match DataFiles.tryInside (DataFiles.folderOf file) value with
                        | Some full -> full
                        | None ->
                            DataFiles.bad
                                file
                                $"line {number}: \"{value}\" leads out of the table's folder"
                                "give a path inside it, or an absolute one")

                let finish role =
                    {
                        Image =
                            path role
                            |> Option.defaultWith (fun () ->
                                DataFiles.bad file $"line {number} names no {role} scan" "name one")
                        Extras =
                            extras
                            |> List.choose (fun extra ->
                                path $"{role}_{extra}" |> Option.map (fun p -> extra, p))
                    }

                number, finish "fixed", finish "moving", cells.TryFind "part"

            let pairs = rows |> List.map read

            /// All that the table says of each scan; two lines must not contradict each other.
            let extrasOf =
                (Map.empty, pairs)
                ||> List.fold (fun known (number, f, m, _) ->
                    (known, [ f; m ])
                    ||> List.fold (fun known scan ->
                        let before = known |> Map.tryFind scan.Image |> Option.defaultValue Map.empty

                        let after =
                            (before, scan.Extras)
                            ||> List.fold (fun all (extra, path) ->
                                match all |> Map.tryFind extra with
                                | Some other when other <> path ->
                                    DataFiles.bad
                                        file
                                        $"line {number} gives {Path.GetFileName scan.Image} other {extra} than a line before"
                                        "give a scan the same in every line"
                                | _ -> all |> Map.add extra path)

                        known |> Map.add scan.Image after))

            let images = extrasOf |> Map.keys |> List.ofSeq
            let nameOf = List.zip images (DataFiles.names file images) |> Map.ofList

            let subjects =
                [
                    for image in images do
                        let extra name = extrasOf[image] |> Map.tryFind name

                        { Subject.ofFiles nameOf[image] image (extra "labels") with
                            Points =
                                extra "points" |> Option.map (Stored.file (DataFiles.landmarks false image))
                            Mask = extra "mask" |> Option.map (Stored.file ImageFile.Read)
                        }
                ]

            let partOf name (own: (int * End * End * string option) list) =
                let listed = own |> List.map (fun (_, f, m, _) -> nameOf[f.Image], nameOf[m.Image])

                DataFiles.part
                    name
                    (Listed listed)
                    (listed |> List.collect (fun (f, m) -> [ f; m ]) |> List.distinct)

            subjects
            |> DataFiles.dataset
                (string (Path.GetFileNameWithoutExtension file))
                "not stated"
                Map.empty
                [
                    partOf "all" pairs
                    for name, own in pairs |> List.groupBy (fun (_, _, _, part) -> part) do
                        match name with
                        | Some name -> partOf name own
                        | None -> ()
                ]
