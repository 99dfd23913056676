namespace Ldr

open System.Text.RegularExpressions
open FsToolkit.ErrorHandling

/// Which scans of a data set are of one person, where the data set does not say. A split never puts scans of one person into
/// two parts.
[<RequireQualifiedAccess>]
type People =
    /// So many scans in a row, by the last number of their names from 1 on: of 2, scans 2k − 1 and 2k.
    | Consecutive of scans: int
    /// What the first group of a regular expression finds in a scan's name.
    | Pattern of expression: string
    /// A CSV file below the data root, with the columns `scan` and `person`.
    | Listed of file: string

[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module People =
    let codec: Codec<People> =
        let expression =
            Codec.string
            |> Codec.where "a regular expression with one group, such as \"^sub-([^_]+)\"" (fun text ->
                try
                    (Regex text).GetGroupNumbers().Length = 2
                with :? System.ArgumentException ->
                    false)

        codec {
            let! consecutive =
                maybe "consecutive" Codec.atLeastTwo (function
                    | Some(People.Consecutive scans) -> Some scans
                    | _ -> None)

            and! pattern =
                maybe "pattern" expression (function
                    | Some(People.Pattern expression) -> Some expression
                    | _ -> None)

            and! file =
                maybe "file" Codec.string (function
                    | Some(People.Listed file) -> Some file
                    | _ -> None)

            return
                match consecutive, pattern, file with
                | Some scans, None, None -> Some(People.Consecutive scans)
                | None, Some expression, None -> Some(People.Pattern expression)
                | None, None, Some file -> Some(People.Listed file)
                | _ -> None
        }
        |> Codec.where "one of \"consecutive\", \"pattern\" and \"file\"" _.IsSome
        |> Codec.map Option.get Some

    let private lastNumber = Regex(@"(\d+)(?!.*\d)")

    let private bad problem : Result<'a, Error> = Error(BadInput problem)

    let private byNumber (scans: int) (name: string) : Result<string, Error> =
        let found = lastNumber.Match name

        match System.Numerics.BigInteger.TryParse found.Value with
        | true, number ->
            let first = (number - 1I) / bigint scans
            Ok $"{name[.. found.Index - 1]}{first * bigint scans + 1I}"
        | _ ->
            bad
                $"$.data.people: the scan {name} has no number in its name; use \"pattern\" or \"file\" instead"

    /// A last number that all names have counts something else, as in patient001_T1: no scans stand in a row by it.
    let private counting (names: string list) : Result<unit, Error> =
        match names |> List.map (fun name -> (lastNumber.Match name).Value) |> List.distinct with
        | [ number ] when number <> "" && names.Length > 1 ->
            bad
                $"$.data.people: the last number of every scan's name is {number}, as of {names.Head}, so no scans stand in a row; use \"pattern\" or \"file\" instead"
        | _ -> Ok()

    let private byPattern (expression: Regex) (name: string) : Result<string, Error> =
        let found = expression.Match name

        if found.Groups[1].Success then
            Ok found.Groups[1].Value
        else
            bad $"$.data.people: \"pattern\" finds nobody in the name of the scan {name}"

    let private byTable (file: string) (known: Map<string, string>) (name: string) : Result<string, Error> =
        match known.TryFind name with
        | Some person -> Ok person
        | None -> bad $"{file}: has no line for the scan {name}; name every scan of the data set"

    /// Tells who a scan is of, by its name, one of `names`. `table` reads the file with the columns `scan` and `person`.
    let private personOf
        (people: People)
        (table: string -> Result<Map<string, string>, Error>)
        (names: string list)
        =
        match people with
        | People.Consecutive scans -> counting names |> Result.map (fun () -> byNumber scans)
        | People.Pattern expression ->
            Regex(expression, RegexOptions.None, System.TimeSpan.FromSeconds 1.0)
            |> byPattern
            |> Ok
        | People.Listed file -> table file |> Result.map (byTable file)

    /// A data set whose scans know who they are of.
    let apply
        (table: string -> Result<Map<string, string>, Error>)
        (people: People option)
        (dataset: Dataset)
        : Result<Dataset, Error> =
        match people with
        | None -> Ok dataset
        | Some people ->
            result {
                let! personOf = dataset.Subjects |> List.map _.Name |> personOf people table

                let! subjects =
                    dataset.Subjects
                    |> List.traverseResultM (fun subject ->
                        personOf subject.Name
                        |> Result.map (fun person -> { subject with Person = person }))

                return { dataset with Subjects = subjects }
            }
