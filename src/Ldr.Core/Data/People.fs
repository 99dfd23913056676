namespace Ldr

open System.Text.RegularExpressions

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

    let private bad problem = Error.Raised(BadInput problem) |> raise

    /// Tells who a scan is of, by its name. `table` reads the file with the columns `scan` and `person`.
    let private personOf (people: People) (table: string -> Map<string, string>) : string -> string =
        match people with
        | People.Consecutive scans ->
            fun name ->
                let found = lastNumber.Match name

                match System.Numerics.BigInteger.TryParse found.Value with
                | true, number ->
                    let first = (number - 1I) / bigint scans
                    $"{name[.. found.Index - 1]}{first * bigint scans + 1I}"
                | _ ->
                    bad
                        $"$.data.people: the scan {name} has no number in its name; use \"pattern\" or \"file\" instead"
        | People.Pattern expression ->
            let expression =
                Regex(expression, RegexOptions.None, System.TimeSpan.FromSeconds 1.0)

            fun name ->
                let found = expression.Match name

                if found.Groups[1].Success then
                    found.Groups[1].Value
                else
                    bad $"$.data.people: \"pattern\" finds nobody in the name of the scan {name}"
        | People.Listed file ->
            let known = table file

            fun name ->
                match Map.tryFind name known with
                | Some person -> person
                | None -> bad $"{file}: has no line for the scan {name}; name every scan of the data set"

    /// A data set whose scans know who they are of.
    let apply (table: string -> Map<string, string>) (people: People option) (dataset: Dataset) : Dataset =
        match people with
        | None -> dataset
        | Some people ->
            let personOf = personOf people table

            { dataset with
                Subjects =
                    dataset.Subjects
                    |> List.map (fun subject ->
                        { subject with
                            Person = personOf subject.Name
                        })
            }
