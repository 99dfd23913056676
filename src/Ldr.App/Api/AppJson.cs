using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Ldr.App.Folders;
using Ldr.App.Jobs;
using Ldr.App.Sessions;

namespace Ldr.App.Api;

/// <summary>A refusal.</summary>
/// <param name="Error">What is wrong, what would be right: one line.</param>
internal sealed record Refusal(string Error);

/// <summary>What the page needs to begin.</summary>
internal sealed record About(string Version, bool HasFolder, string? FolderName, bool Kept, bool HasLists, long MostUpload, IReadOnlyList<ModelEntry> Models);

/// <summary>A path below <c>--folder</c>.</summary>
internal sealed record FolderPath(string Path);

/// <summary>What is moved by a job's transform.</summary>
/// <param name="File">The file's id.</param>
/// <param name="Kind"><c>image</c>, <c>labels</c> or <c>points</c>.</param>
/// <param name="Volume">Which volume of a file that holds several.</param>
internal sealed record ApplyRequest(string File, string Kind = "image", int? Volume = null);

/// <summary>What was moved.</summary>
/// <param name="Name">For the download.</param>
/// <param name="Address">Where it can be had.</param>
internal sealed record Moved(string Name, string Address);

/// <summary>How the API writes and reads JSON.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    UseStringEnumConverter = true,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(Refusal))]
[JsonSerializable(typeof(About))]
[JsonSerializable(typeof(FolderPath))]
[JsonSerializable(typeof(ApplyRequest))]
[JsonSerializable(typeof(Moved))]
[JsonSerializable(typeof(Job))]
[JsonSerializable(typeof(JobRequest))]
[JsonSerializable(typeof(IReadOnlyList<Job>))]
[JsonSerializable(typeof(StoredFile))]
[JsonSerializable(typeof(StoredFile[]))]
[JsonSerializable(typeof(FolderListing))]
[JsonSerializable(typeof(RawGeometry))]
[JsonSerializable(typeof(RunView))]
[JsonSerializable(typeof(CohortView))]
[JsonSerializable(typeof(PairView))]
[JsonSerializable(typeof(JsonObject))]
internal sealed partial class AppJson : JsonSerializerContext;
