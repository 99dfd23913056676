namespace Ldr.Runtime.Groups;

/// <summary>The page and the table of a cohort.</summary>
public static class GroupPage
{
    /// <summary>Writes them from what is there.</summary>
    public static IReadOnlyList<GroupRow> Write(string output, string command = "") => GroupRow.ReadAll(output);
}
