namespace Ldr

open System
open System.IO
open FsToolkit.ErrorHandling
open Ldr.Runtime.Formats

/// A table of pairs: columns `fixed` and `moving`, and optionally `fixed_labels`, `moving_labels`, `fixed_points`,
/// `moving_points`, `fixed_mask`, `moving_mask` and `part`. Paths are relative to the table.
module CsvForm =
    let private extras = [ "labels"; "points"; "mask" ]

    let private columns =
        [ "fixed"; "moving"; "part" ]
        @ List.collect (fun extra -> [ $"fixed_{extra}"; $"moving_{extra}" ]) extras

    /// The fields of a line; quotes as in RFC 4180, no line breaks inside them.
    let private cellsOf (file: string) (number: int) (line: string) : Result<string list, Error> =
        match DelimitedText.Split(line, ',') with
        | null -> DataFiles.bad file $"line {number} has a quote that does not end" "end it on that line"
        | cells -> Ok(List.ofSeq cells)

    /// One end of a pair: the files of a scan.
    type private End =
        {
            Image: string
            Extras: (string * string) list
        }

    /// The lines of a table that say something, with their numbers.
    let private linesOf (file: string) : Result<(int * string) list, Error> =
        Error.guard (fun () -> TextFile.readLines file)
        |> Result.map (fun lines ->
            Array.indexed lines
            |> Array.map (fun (i, line) -> i + 1, line.TrimStart '\uFEFF')
            |> Array.filter (fun (_, line) -> line.Trim() <> "" && not (line.StartsWith '#'))
            |> List.ofArray)

    /// Reads a table with the columns `scan` and `person`: whose scan each is.
    let people (file: string) : Result<Map<string, string>, Error> =
        let noColumns () =
            DataFiles.bad
                file
                "does not begin with the columns scan,person"
                "give it that first line and a line for each scan"

        let add (head: int) (known: Map<string, string>) (number: int, line: string) =
            result {
                match! cellsOf file number line with
                | [ scan; person ] when scan <> "" && person <> "" && not (known.ContainsKey scan) ->
                    return known.Add(scan, person)
                | _ ->
                    return!
                        DataFiles.bad
                            file
                            $"line {number} is not a scan that line {head} to {number - 1} lack and its person"
                            "give every scan one line: its name, a comma, its person"
            }

        result {
            do!
                if File.Exists file then
                    Ok()
                else
                    DataFiles.bad
                        file
                        "is not there"
                        "write it, or mend $.data.people.file: its path is below the data root"

            match! linesOf file with
            | [] -> return! noColumns ()
            | (head, text) :: rows ->
                match! cellsOf file head text with
                | [ "scan"; "person" ] -> return! rows |> Results.fold (add head) Map.empty
                | _ -> return! noColumns ()
        }

    let private checkColumns (file: string) (line: int) (names: string list) : Result<unit, Error> =
        let stranger = names |> List.tryFind (fun name -> not (List.contains name columns))

        let missing =
            [ "fixed"; "moving" ]
            |> List.tryFind (fun needed -> not (List.contains needed names))

        match stranger, missing with
        | Some name, _ ->
            DataFiles.bad
                file
                $"line {line}: \"{name}\" is not a known column"
                (Suggestion.among columns name)
        | None, Some needed -> DataFiles.bad file $"line {line}: has no column \"{needed}\"" "add it"
        | None, None -> Ok()

    /// The full path of a cell of a line.
    let private path (file: string) (number: int) (value: string) : Result<string, Error> =
        match DataFiles.tryInside (DataFiles.folderOf file) value with
        | Some full -> Ok full
        | None ->
            DataFiles.bad
                file
                $"line {number}: \"{value}\" leads out of the table's folder"
                "give a path inside it, or an absolute one"

    /// One end of a line's pair, `fixed` or `moving`.
    let private endOf
        (file: string)
        (number: int)
        (cells: Map<string, string>)
        (role: string)
        : Result<End, Error> =
        result {
            let! image =
                match cells.TryFind role with
                | Some value -> path file number value
                | None -> DataFiles.bad file $"line {number} names no {role} scan" "name one"

            let! own =
                extras
                |> List.choose (fun extra ->
                    cells.TryFind $"{role}_{extra}" |> Option.map (fun value -> extra, value))
                |> List.traverseResultM (fun (extra, value) ->
                    path file number value |> Result.map (fun path -> extra, path))

            return { Image = image; Extras = own }
        }

    /// One line of a table of pairs.
    type private Row =
        {
            Number: int
            Fixed: End
            Moving: End
            Part: string option
        }

    let private row (file: string) (names: string list) (number: int, line: string) : Result<Row, Error> =
        result {
            let! values = cellsOf file number line

            if values.Length <> names.Length then
                return!
                    DataFiles.bad
                        file
                        $"line {number} has {values.Length} fields, its first line names {names.Length}"
                        "give every line as many"
            else
                let cells =
                    List.zip names values |> List.filter (fun (_, v) -> v <> "") |> Map.ofList

                let! fixedEnd = endOf file number cells "fixed"
                let! moving = endOf file number cells "moving"

                return
                    {
                        Number = number
                        Fixed = fixedEnd
                        Moving = moving
                        Part = cells.TryFind "part"
                    }
        }

    /// What a table says of scans so far, with what one end of a line says of its scan.
    let private addEnd (file: string) (number: int) (known: Map<string, Map<string, string>>) (scan: End) =
        let add (all: Map<string, string>) (extra: string, path: string) =
            match all.TryFind extra with
            | Some other when other <> path ->
                DataFiles.bad
                    file
                    $"line {number} gives {Path.GetFileName scan.Image} other {extra} than a line before"
                    "give a scan the same in every line"
            | _ -> Ok(all.Add(extra, path))

        let before = known.TryFind scan.Image |> Option.defaultValue Map.empty

        scan.Extras
        |> Results.fold add before
        |> Result.map (fun after -> known.Add(scan.Image, after))

    /// All that a table says of each scan; two lines must not contradict each other.
    let private extrasOf (file: string) (rows: Row list) : Result<Map<string, Map<string, string>>, Error> =
        let add known row =
            [ row.Fixed; row.Moving ] |> Results.fold (addEnd file row.Number) known

        rows |> Results.fold add Map.empty

    let private subject (name: string) (image: string) (extras: Map<string, string>) : Subject =
        { Subject.ofFiles name image (extras.TryFind "labels") with
            Points = extras.TryFind "points" |> Option.map (DataFiles.storedLandmarks false image)
            Mask = extras.TryFind "mask" |> Option.map (Stored.file ImageFile.Read)
        }

    let private part (nameOf: Map<string, string>) (name: string) (rows: Row list) : DataPart =
        let listed =
            rows |> List.map (fun row -> nameOf[row.Fixed.Image], nameOf[row.Moving.Image])

        DataFiles.part name (Listed listed) (listed |> List.collect (fun (f, m) -> [ f; m ]) |> List.distinct)

    let private dataset (file: string) (rows: Row list) : Result<Dataset, Error> =
        result {
            let! extras = extrasOf file rows
            let images = extras |> Map.keys |> List.ofSeq
            let! names = DataFiles.names file images
            let nameOf = List.zip images names |> Map.ofList

            let parts =
                [
                    part nameOf "all" rows
                    for name, own in rows |> List.groupBy _.Part do
                        match name with
                        | Some name -> part nameOf name own
                        | None -> ()
                ]

            return
                images
                |> List.map (fun image -> subject nameOf[image] image extras[image])
                |> DataFiles.dataset
                    (string (Path.GetFileNameWithoutExtension file))
                    "not stated"
                    Map.empty
                    parts
        }

    /// Reads a table.
    let read (file: string) : Result<Dataset, Error> =
        result {
            match! linesOf file with
            | []
            | [ _ ] ->
                return!
                    DataFiles.bad
                        file
                        "holds no pair"
                        "give it a first line such as fixed,moving and a line for each pair"
            | (number, head) :: lines ->
                let! head = cellsOf file number head
                let names = head |> List.map _.ToLowerInvariant()
                do! checkColumns file number names
                let! rows = lines |> List.traverseResultM (row file names)
                return! dataset file rows
        }
