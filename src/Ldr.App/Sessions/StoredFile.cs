using System.Text.Json.Serialization;

namespace Ldr.App.Sessions;

/// <summary>What a file is for.</summary>
internal enum FileRole
{
    [JsonStringEnumMemberName("image")]
    Image,

    [JsonStringEnumMemberName("transform")]
    Transform,

    [JsonStringEnumMemberName("points")]
    Points,
}

/// <summary>A file that jobs can use: uploaded, or below <c>--folder</c>.</summary>
/// <param name="Id">By which the API knows it.</param>
/// <param name="Name">As the user knows it; it is never part of a path.</param>
/// <param name="Role">What it is for.</param>
/// <param name="Size">Bytes.</param>
internal sealed record StoredFile(string Id, string Name, FileRole Role, long Size)
{
    /// <summary>Where it lies; not told.</summary>
    [JsonIgnore]
    public string Path { get; init; } = string.Empty;

    /// <summary>Its path below <c>--folder</c>; null for an upload.</summary>
    public string? FolderPath { get; init; }

    /// <summary>Size, spacing and orientation of an image, in words.</summary>
    public string? Grid { get; init; }

    /// <summary>How many volumes an image holds.</summary>
    public long Volumes { get; init; } = 1;

    /// <summary>Names on a command line: uploads by their names, files of <c>--folder</c> by their paths.</summary>
    [JsonIgnore]
    public string Argument => FolderPath is null ? Name : Path;
}
